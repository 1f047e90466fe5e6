//! Values that look like events: JSON that differs from record to record.

use bytes::Bytes;
use tarn_model::ByteSize;
use tarn_runtime::Random;

/// So many different values are made and sent in turns.
const VALUES: usize = 1024;

#[derive(Debug)]
pub(crate) struct Payloads(Vec<Bytes>);

impl Payloads {
    /// Values of exactly this size.
    pub(crate) fn new(random: &Random, size: ByteSize) -> Payloads {
        Payloads((0..VALUES).map(|_| value(random, size)).collect())
    }

    pub(crate) fn of(&self, n: u64) -> Bytes {
        let index = usize::try_from(n % VALUES as u64).expect("smaller than the list");
        self.0[index].clone()
    }
}

fn value(random: &Random, size: ByteSize) -> Bytes {
    let id = random.u64();
    let page = random.below(1000);
    let mut text = format!("{{\"id\":{id},\"page\":\"/item/{page}\",\"text\":\"");
    while text.len() + 2 < size.as_usize() {
        text.push_str(&format!("{:x} ", random.u64()));
    }
    text.truncate(size.as_usize().saturating_sub(2));
    text.push_str("\"}");
    Bytes::from(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_json_of_the_size_asked_for() {
        let random = Random::seeded(1);
        let value = value(&random, ByteSize::kib(1));
        assert_eq!(value.len(), 1024);
        serde_json::from_slice::<serde_json::Value>(&value).expect("JSON");
    }
}

//! What members bring is bounded.

use super::*;

#[test]
fn what_members_bring_is_bounded_together_not_one_by_one() {
    let mut stage = Stage::new(Duration::from_secs(3));
    // Far more than one consumer of 600 topics offers, and a fifteenth of what a group may hold.
    let name = "p".repeat(caps::GROUP_BYTES_MAX / 15);
    let mut answers = Vec::new();
    let refusal = loop {
        let mut answer = stage.join_with("", None, &[&name]);
        assert!(answers.len() < 20, "far more than a group may hold");
        match answer.try_recv() {
            Ok(answer) => break answer.expect_err("refused").error,
            Err(_) => answers.push(answer),
        }
    };
    assert_eq!(refusal, GroupError::Full);
    assert_eq!(answers.len(), 14);
}

/// What a Kafka Streams application of 400 instances brings: every assignment names all the hosts.
#[test]
fn hundreds_of_members_that_say_much_the_same_fit_into_an_entry_of_the_log() {
    let everywhere: String = (0..400)
        .map(|host| format!("host-{host}.example:9092=[orders-{host},payments-{host}];"))
        .collect();
    let members: Vec<BroughtByMember> = (0..400)
        .map(|n| BroughtByMember {
            id: format!("streams-{n}-7f4c7f0e"),
            protocols: vec![(
                "stream".to_owned(),
                format!("{everywhere}{n}").into_bytes().into(),
            )],
            assignment: format!("{n}:{everywhere}").into_bytes().into(),
        })
        .collect();
    let bytes: usize = members.iter().map(brought::size).sum();
    let written = brought::write(&members).expect("compressible");
    assert!(bytes > 10 << 20 && bytes < caps::GROUP_BYTES_MAX, "{bytes}");
    assert!(written.len() < 512 << 10, "{}", written.len());
    let read = brought::read(&written);
    assert_eq!(read.len(), 400);
    assert_eq!(read["streams-7-7f4c7f0e"].1, format!("7:{everywhere}"));
    assert!(brought::read(&written[..100]).is_empty(), "cut");
    assert!(brought::read(&[]).is_empty());
}

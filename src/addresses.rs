//! Where a process listens, and what it tells its clients about that.
//!
//! Holds: an IPv6 address stands in brackets wherever a port follows; clients are never told an address
//! that means every address of a machine, because to them it means their own.
//! Leaves to others: the sockets, and whether the host that clients are told leads here.

use std::net::{IpAddr, SocketAddr};

/// Longest name of a host.
const HOST_BYTES_MAX: usize = 253;

/// `host:port`.
pub(crate) fn host_port(host: &str, port: u16) -> String {
    let host = bare(host);
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

/// The host without the brackets that some write around an IPv6 address.
fn bare(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}

/// Why clients cannot be told this host, if they cannot.
pub(crate) fn problem(host: &str) -> Option<String> {
    match bare(host).parse::<IpAddr>() {
        Ok(address) if address.to_canonical().is_unspecified() => Some(format!(
            "clients cannot connect to {host}, which means every address of a machine"
        )),
        Ok(_) => None,
        Err(_) if host.len() > HOST_BYTES_MAX => Some(format!(
            "a host name is not longer than {HOST_BYTES_MAX} bytes"
        )),
        Err(_) if host.contains([':', '/', ' ', '[', ']']) => {
            Some(format!("{host:?} is no host name or address"))
        }
        Err(_) => None,
    }
}

/// Clients cannot be told where this process is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "Tarn listens on every address of the machine ({bound}), and the machine has no host name that can be \
     looked up: say with --advertised-host what clients connect to"
)]
pub(crate) struct Unknown {
    bound: IpAddr,
}

/// The host that Kafka clients are told: what the user chose, or else the host that was listened on, or
/// the machine's name if that is every address.
pub(crate) fn advertised(
    chosen: &str,
    host: &str,
    bound: IpAddr,
    machine: Option<&str>,
) -> Result<String, Unknown> {
    if !chosen.is_empty() {
        return Ok(bare(chosen).to_owned());
    }
    if !bound.to_canonical().is_unspecified() {
        return Ok(bare(host).to_owned());
    }
    machine.map(str::to_owned).ok_or(Unknown { bound })
}

/// What a process is called that was given no name. Each is as stable as it can be: nobody but the process that
/// restarts can have its address, and nobody else at all a folder.
pub(crate) fn node_name(is_alone: bool, kafka: Option<&str>, http: &str) -> String {
    match is_alone {
        true => "local".to_owned(),
        false => kafka.unwrap_or(http).to_owned(),
    }
}

/// The address to print for a listener: one that can be connected to.
pub(crate) fn printed(bound: SocketAddr, advertised: &str) -> String {
    match bound.ip().to_canonical().is_unspecified() {
        true => host_port(advertised, bound.port()),
        false => bound.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_ipv6_address_stands_in_brackets() {
        for (host, expected) in [
            ("127.0.0.1", "127.0.0.1:9092"),
            ("tarn.example", "tarn.example:9092"),
            ("::1", "[::1]:9092"),
            ("[::1]", "[::1]:9092"),
            ("::", "[::]:9092"),
        ] {
            assert_eq!(host_port(host, 9092), expected);
        }
        assert_eq!(
            printed("[::1]:9092".parse().expect("one"), "x"),
            "[::1]:9092"
        );
    }

    #[test]
    fn clients_are_told_something_that_they_can_connect_to() {
        let told = |chosen, host, bound, machine| advertised(chosen, host, ip(bound), machine);
        let machine = Some("node-7");
        for (chosen, host, bound, expected) in [
            ("", "127.0.0.1", "127.0.0.1", "127.0.0.1"),
            ("", "localhost", "127.0.0.1", "localhost"),
            // Kafka's protocol has the port in a field of its own.
            ("", "[::1]", "::1", "::1"),
            ("", "0.0.0.0", "0.0.0.0", "node-7"),
            ("", "::", "::", "node-7"),
            ("", "0", "0.0.0.0", "node-7"),
            ("", "::ffff:0.0.0.0", "::ffff:0.0.0.0", "node-7"),
            ("kafka.example", "127.0.0.1", "127.0.0.1", "kafka.example"),
            ("[2001:db8::7]", "::", "::", "2001:db8::7"),
        ] {
            assert_eq!(
                told(chosen, host, bound, machine).as_deref(),
                Ok(expected),
                "{chosen:?} {host}"
            );
        }
        let unknown = told("", "0.0.0.0", "0.0.0.0", None).expect_err("nobody knows");
        assert!(
            unknown.to_string().contains("--advertised-host"),
            "{unknown}"
        );
        assert_eq!(
            printed("0.0.0.0:8080".parse().expect("one"), "node-7"),
            "node-7:8080"
        );
        assert_eq!(
            printed("[::]:8080".parse().expect("one"), "2001:db8::7"),
            "[2001:db8::7]:8080"
        );
        assert_eq!(
            printed("127.0.0.1:8080".parse().expect("one"), "node-7"),
            "127.0.0.1:8080"
        );
    }

    #[test]
    fn a_process_is_called_after_what_it_has_to_itself() {
        for (is_alone, kafka, expected) in [
            (true, Some("a:9092"), "local"),
            (false, Some("a:9092"), "a:9092"),
            (false, None, "a:8080"),
        ] {
            assert_eq!(node_name(is_alone, kafka, "a:8080"), expected);
        }
    }

    #[test]
    fn what_leads_nowhere_is_refused() {
        for host in ["localhost", "node-7", "10.0.0.7", "::1", "[::1]"] {
            assert_eq!(problem(host), None, "{host}");
        }
        for host in [
            "0.0.0.0",
            "::",
            "[::]",
            "node-7:9092",
            "http://node-7",
            "a b",
            "[x]",
        ] {
            assert!(problem(host).is_some(), "{host}");
        }
    }
}

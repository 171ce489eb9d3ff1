//! Counters of the calling thread's network namespace.

/// `("Udp", "InErrors")` of `/proc/net/snmp`, `("TcpExt", …)` of `/proc/net/netstat`, `("Udp6", …)` of `/proc/net/snmp6`.
pub fn counter(protocol: &str, name: &str) -> u64 {
    // Not /proc/net: that is the main thread's.
    let read = |file: &str| std::fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default();
    let found = if protocol.ends_with('6') {
        one_a_line(&read("snmp6"), &format!("{protocol}{name}"))
    } else {
        in_pairs(&read("snmp"), protocol, name).or_else(|| in_pairs(&read("netstat"), protocol, name))
    };
    found.unwrap_or_else(|| panic!("the kernel counts no {protocol} {name}"))
}

fn one_a_line(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

/// A line of names, and below it one of values.
fn in_pairs(text: &str, protocol: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(protocol)?.strip_prefix(':'));
    let at = lines.next()?.split_whitespace().position(|word| word == name)?;
    lines.next()?.split_whitespace().nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_in_both_forms() {
        let pairs = "Tcp: A B\nTcp: 1 2\nUdp: InDatagrams InErrors\nUdp: 7 8\nUdpLite: InDatagrams\nUdpLite: 9\n";
        assert_eq!((in_pairs(pairs, "Udp", "InErrors"), in_pairs(pairs, "Udp", "Other")), (Some(8), None));
        assert_eq!(one_a_line("Udp6InDatagrams   \t3\nUdp6InErrors\t4\n", "Udp6InErrors"), Some(4));
    }
}

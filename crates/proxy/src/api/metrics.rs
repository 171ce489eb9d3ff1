//! `GET /metrics`, in Prometheus' text format 0.0.4.

use std::fmt::Write as _;

use super::ApiOptions;
use crate::control::{Control, ProxyMetrics};
use crate::http::Arms;

pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";

pub(super) fn text(control: &Control, options: &ApiOptions) -> String {
    let mut out = String::new();
    if options.runtime_metrics {
        runtime(&mut out);
    }
    if options.proxy_metrics {
        let rows = control.metrics();
        proxies(&mut out, &rows);
        rules(&mut out, &rows);
    }
    out
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    // Writing into a string cannot fail.
    let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

/// What is shown of a row.
type Value<T> = fn(&ProxyMetrics) -> T;

fn proxies(out: &mut String, rows: &[ProxyMetrics]) {
    let by_direction: [(_, _, Value<[u64; 2]>); 2] = [
        ("toxiproxy_proxy_received_bytes_total", "Bytes read from clients (upstream) and upstreams (downstream).", |row| {
            row.counters.received
        }),
        ("toxiproxy_proxy_sent_bytes_total", "Bytes written to upstreams (upstream) and clients (downstream).", |row| row.counters.sent),
    ];
    for (name, help, value) in by_direction {
        head(out, name, "counter", help);
        for row in rows {
            let [upstream, downstream] = value(row);
            for (direction, bytes) in [("downstream", downstream), ("upstream", upstream)] {
                let _ = writeln!(out, "{name}{{direction=\"{direction}\",{}}} {bytes}", labels(row));
            }
        }
    }
    let by_proxy: [(_, _, _, Value<u64>); 2] = [
        ("squall_proxy_connections_total", "counter", "Connections that were accepted.", |row| row.counters.accepted),
        ("squall_proxy_open_connections", "gauge", "Connections that are open.", |row| row.counters.open),
    ];
    for (name, kind, help, value) in by_proxy {
        head(out, name, kind, help);
        for row in rows {
            let _ = writeln!(out, "{name}{{{}}} {}", labels(row), value(row));
        }
    }
}

fn rules(out: &mut String, rows: &[ProxyMetrics]) {
    type Rules = fn(&ProxyMetrics) -> &[(String, Arms)];
    let families: [(_, _, Rules); 2] = [
        ("squall_proxy_rule_requests_total", "Requests that a rule matched, that got its fault, and that were its control group.", |row| {
            &row.rules
        }),
        ("squall_proxy_rule_connections_total", "Connections that a rule on TLS was for, by the same arms.", |row| &row.tls_rules),
    ];
    for (name, help, of) in families {
        head(out, name, "counter", help);
        for row in rows {
            for (rule, arms) in of(row) {
                for (arm, count) in [("control", arms.control), ("injected", arms.injected), ("matched", arms.matched)] {
                    let (proxy, rule) = (escaped(&row.proxy), escaped(rule));
                    let _ = writeln!(out, "{name}{{arm=\"{arm}\",proxy=\"{proxy}\",rule=\"{rule}\"}} {count}");
                }
            }
        }
    }
}

fn labels(row: &ProxyMetrics) -> String {
    let ProxyMetrics { proxy, listen, upstream, .. } = row;
    format!("listener=\"{}\",proxy=\"{}\",upstream=\"{}\"", escaped(listen), escaped(proxy), escaped(upstream))
}

/// A label's value as the format wants it.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Of this process, from proc(5), under the names that Prometheus' clients give them; what cannot be read is left out.
/// Toxiproxy's dashboards and checks look for the `go_*` ones, which say here what comes nearest.
fn runtime(out: &mut String) {
    let version = env!("CARGO_PKG_VERSION");
    head(out, "squall_build_info", "gauge", "The version of Squall.");
    let _ = writeln!(out, "squall_build_info{{version=\"{version}\"}} 1");
    head(out, "go_info", "gauge", "No Go: Squall, under the name where dashboards for Toxiproxy look.");
    let _ = writeln!(out, "go_info{{version=\"squall-{version}\"}} 1");
    head(out, "go_build_info", "gauge", "No Go: Squall, under the name where dashboards for Toxiproxy look.");
    let _ = writeln!(out, "go_build_info{{checksum=\"\",path=\"squall\",version=\"{version}\"}} 1");
    let mut gauge = |name: &str, kind: &str, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            head(out, name, kind, help);
            let _ = writeln!(out, "{name} {value}");
        }
    };
    let threads = stat(17);
    gauge("go_goroutines", "gauge", "Threads: Squall has no goroutines.", threads);
    gauge("go_threads", "gauge", "Threads of the process.", threads);
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let cpu = stat(11).zip(stat(12)).map(|(user, system)| (user + system) / ticks);
    gauge("process_cpu_seconds_total", "counter", "User and system time in seconds.", cpu);
    gauge("process_virtual_memory_bytes", "gauge", "Virtual memory in bytes.", stat(20));
    let resident = stat(21).map(|pages| pages * rustix::param::page_size() as f64);
    gauge("process_resident_memory_bytes", "gauge", "Resident memory in bytes.", resident);
    let open = std::fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as f64);
    gauge("process_open_fds", "gauge", "Open file descriptors.", open);
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.map(|most| most as f64);
    gauge("process_max_fds", "gauge", "File descriptors that may be open.", most);
    let boot = std::fs::read_to_string("/proc/stat")
        .ok()
        .and_then(|text| text.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<f64>().ok()));
    let start = boot.zip(stat(19)).map(|(boot, since)| boot + since / ticks);
    gauge("process_start_time_seconds", "gauge", "When the process started, in seconds since 1970.", start);
}

/// A number of `/proc/self/stat`, counted from 0 after the name's closing bracket (so that the state is 0).
fn stat(index: usize) -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    text.rsplit_once(") ")?.1.split(' ').nth(index)?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Counters;

    #[test]
    fn labels_stand_in_the_order_of_the_alphabet_and_are_escaped() {
        let counters = Counters { accepted: 3, open: 1, received: [5, 7], sent: [4, 6] };
        let row = ProxyMetrics {
            proxy: "a\"b".into(),
            listen: "127.0.0.1:1".into(),
            upstream: "h:2".into(),
            counters,
            rules: vec![("r".into(), Arms { matched: 9, injected: 3, control: 2 })],
            tls_rules: vec![("t".into(), Arms { matched: 4, injected: 1, control: 0 })],
        };
        let mut out = String::new();
        proxies(&mut out, std::slice::from_ref(&row));
        rules(&mut out, &[row]);
        let values: Vec<_> = out.lines().filter(|line| !line.starts_with('#')).collect();
        let labels = r#"listener="127.0.0.1:1",proxy="a\"b",upstream="h:2""#;
        assert_eq!(
            values,
            [
                format!("toxiproxy_proxy_received_bytes_total{{direction=\"downstream\",{labels}}} 7"),
                format!("toxiproxy_proxy_received_bytes_total{{direction=\"upstream\",{labels}}} 5"),
                format!("toxiproxy_proxy_sent_bytes_total{{direction=\"downstream\",{labels}}} 6"),
                format!("toxiproxy_proxy_sent_bytes_total{{direction=\"upstream\",{labels}}} 4"),
                format!("squall_proxy_connections_total{{{labels}}} 3"),
                format!("squall_proxy_open_connections{{{labels}}} 1"),
                "squall_proxy_rule_requests_total{arm=\"control\",proxy=\"a\\\"b\",rule=\"r\"} 2".into(),
                "squall_proxy_rule_requests_total{arm=\"injected\",proxy=\"a\\\"b\",rule=\"r\"} 3".into(),
                "squall_proxy_rule_requests_total{arm=\"matched\",proxy=\"a\\\"b\",rule=\"r\"} 9".into(),
                "squall_proxy_rule_connections_total{arm=\"control\",proxy=\"a\\\"b\",rule=\"t\"} 0".into(),
                "squall_proxy_rule_connections_total{arm=\"injected\",proxy=\"a\\\"b\",rule=\"t\"} 1".into(),
                "squall_proxy_rule_connections_total{arm=\"matched\",proxy=\"a\\\"b\",rule=\"t\"} 4".into(),
            ]
        );
    }

    #[test]
    fn the_process_is_measured() {
        let mut out = String::new();
        runtime(&mut out);
        let value = |name: &str| out.lines().find_map(|line| line.strip_prefix(&format!("{name} "))?.parse::<f64>().ok()).unwrap();
        assert!(value("go_goroutines") >= 1.0 && value("process_resident_memory_bytes") > 1e5 && value("process_open_fds") >= 3.0);
        assert!(value("process_start_time_seconds") > 1.5e9);
        assert!(out.contains("\ngo_info{version="));
    }
}

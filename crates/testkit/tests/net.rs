//! Hosts, and what is measured between them, against the kernel alone.

use std::time::Duration;

use squall_testkit::net::accuracy::{Case, Distribution, Route, Size, assert_met, cases};
use squall_testkit::net::probe::{Bulk, Echo, Flood, Train, Transport, connect, exchange, ping};
use squall_testkit::net::statistics::quantile;
use squall_testkit::net::{Family, Host, Lab};

const SOON: Duration = Duration::from_secs(2);

fn names() -> Vec<String> {
    let entries = std::fs::read_dir("/run/netns").into_iter().flatten();
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn hosts_reach_each_other_at_once_over_both_families() {
    let lab = Lab::new();
    let (a, b) = (lab.host("a"), lab.host("b"));
    let echo = Echo::start(&b, 7);
    for family in Family::BOTH {
        for transport in [Transport::Tcp, Transport::Udp] {
            let trip = exchange(&a, echo.address(family), transport, SOON).expect("an answer");
            assert!(trip < Duration::from_secs(1), "{family:?} {transport:?}: {trip:?}");
        }
        assert!(ping(&a, b.address(family), 3, Duration::from_millis(10), SOON).iter().all(Option::is_some), "{family:?}");
        connect(&a, echo.address(family), SOON).expect("a connection");
    }
    assert!(connect(&a, b.socket(Family::V4, 8), SOON).is_err(), "nobody listens there");
}

#[test]
fn a_router_joins_two_segments_whenever_their_hosts_come() {
    let lab = Lab::new();
    let (near, far) = (lab.first(), lab.segment());
    let early = lab.host("early");
    lab.router("router", &[near, far]);
    let late = lab.host_on(far, "late");
    let echo = Echo::start(&late, 7);
    for family in Family::BOTH {
        exchange(&early, echo.address(family), Transport::Tcp, SOON).expect("through the router");
    }
}

#[test]
fn a_lab_takes_everything_with_it_also_programs_that_run_on() {
    let lab = Lab::new();
    let a = lab.host("a");
    let name = a.name_of_namespace().to_owned();
    let mut left = a.command("sleep").arg("100").spawn().expect("starts");
    let other = a.within(|| squall_sys::netns::Namespace::of_process(std::process::id()).expect("own").inode);
    squall_testkit::eventually("it is in the namespace", || {
        squall_sys::netns::Namespace::of_process(left.id()).is_ok_and(|of| of.inode == a.namespace().inode && of.inode != other)
    });
    assert!(names().contains(&name));
    drop(lab);
    assert!(!names().contains(&name));
    let status = left.wait().expect("ended");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
}

#[test]
fn a_lab_is_gone_when_its_test_fails() {
    let thread = std::thread::spawn(|| {
        let lab = Lab::new();
        let name = lab.host("a").name_of_namespace().to_owned();
        std::panic::panic_any(name);
    });
    let name = *thread.join().expect_err("it failed").downcast::<String>().expect("its name");
    assert!(!names().contains(&name));
}

#[test]
fn a_lab_of_a_process_that_is_gone_is_removed_by_the_next() {
    // Process 1 was started before: this one was another.
    let name = "sq-1-999999999999-0-host";
    let lab = Lab::new();
    lab.host("a").within(|| {
        #[expect(clippy::disallowed_methods, reason = "makes what another process has left behind")]
        let made = std::process::Command::new("ip").args(["netns", "add", name]).status().expect("ip");
        assert!(made.success());
    });
    // Labs clean up once in each process: another one does it.
    #[expect(clippy::disallowed_methods, reason = "this test program once more, as another process")]
    let mut again = std::process::Command::new(std::env::current_exe().expect("a path"));
    let output = again.args(["--exact", "a_lab_is_gone_when_its_test_fails"]).output().expect("runs");
    assert!(output.status.success());
    assert!(!names().contains(&name.to_owned()));
}

/// Two hosts with a rule between them that `nft` makes.
fn with_rule(rule: &str) -> (Lab, Host, Host) {
    let lab = Lab::new();
    let (a, b) = (lab.host("a"), lab.host("b"));
    let table = "add table inet t; add chain inet t out { type filter hook output priority 0; }";
    let script = format!("{table}; add rule inet t out {rule}");
    let output = a.command("nft").arg(script).output().expect("nft: install the Debian package nftables");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (lab, a, b)
}

#[test]
fn a_train_sees_losses_that_the_kernel_makes() {
    let (_lab, a, b) = with_rule("meta l4proto udp numgen inc mod 4 == 0 counter drop");
    for family in Family::BOTH {
        let journey = Train::new(400, 2000.0).grace(Duration::from_millis(200)).run(&a, &b, family);
        assert_eq!(journey.lost().len(), 100, "{family:?}");
        assert_eq!(journey.bursts(), [1; 100], "{family:?}");
        // A drop in the output hook is told to whoever sends.
        assert_eq!(journey.refused.as_ref().map(|(count, _)| *count), Some(100), "{family:?}: {:?}", journey.refused);
    }
}

#[test]
fn a_train_without_faults_is_whole_and_in_order() {
    let lab = Lab::new();
    let (a, b) = (lab.host("a"), lab.host("b"));
    for family in Family::BOTH {
        let journey = Train::new(500, 1000.0).run(&a, &b, family);
        assert_eq!((journey.lost().len(), journey.duplicates(), journey.overtakers(), journey.damaged), (0, 0, 0, 0));
        assert_eq!(journey.refused, None);
        let delays = journey.delays();
        println!("{family:?}: median {:.3} ms, p99 {:.3} ms", quantile(&delays, 0.5), quantile(&delays, 0.99));
        assert!(quantile(&delays, 0.5) < 50.0, "{delays:?}");
    }
}

#[test]
fn a_limit_of_the_kernel_is_measured_by_a_flood_and_by_a_connection() {
    let lab = Lab::new();
    let (a, b) = (lab.host("a"), lab.host("b"));
    // 8 Mbit/s of frames, which are 14 bytes longer than packets.
    a.run("tc qdisc add dev eth0 root tbf rate 8mbit burst 4kb limit 20kb");
    for family in Family::BOTH {
        let flood = Flood { bytes_per_second: 2e6, lasting: Duration::from_millis(1500), warm_up: Duration::from_millis(200) };
        let rate = flood.run(&a, &b, family);
        let expected = 1e6 * 1500.0 / 1514.0;
        assert!((rate / expected - 1.0).abs() < 0.05, "{family:?}: {rate}");
        let rate = Bulk { lasting: Duration::from_millis(1500) }.run(&a, &b, family);
        assert!(rate > 0.7e6 && rate < 1.05e6, "{family:?}: {rate}");
    }
}

/// Has `tc` carry out a case.
fn netem(on: &Host, case: &Case) {
    let args = case.args("netem");
    let text = |name: &str| args[name].as_str().unwrap_or_default().to_owned();
    let tables = tempfile::tempdir().expect("a directory");
    let options = match case.fault {
        "network.latency" => {
            let values = case.distribution().and_then(Distribution::values);
            let table = values.map(|values| values.iter().map(|value| format!("{:.0}\n", value * 8191.0)).collect::<String>());
            let named = table.map(|table| std::fs::write(tables.path().join("own.dist"), table).expect("written"));
            let distribution = named.map_or("", |()| "distribution own");
            format!("netem limit 100000 delay {} {} {distribution}", text("delay"), text("jitter"))
        }
        "network.loss" if args["bursts"].is_object() => "netem loss gemodel 5% 25% 100% 0%".into(),
        "network.loss" => format!("netem loss {}", text("percent")),
        // netem counts frames, which are 14 bytes longer than packets.
        "network.bandwidth" => format!("netem limit 100 rate {}", text("rate").trim_end_matches("/s")),
        "network.duplicate" => format!("netem duplicate {}", text("percent")),
        "network.corrupt" => format!("netem corrupt {}", text("percent")),
        "network.reorder" => format!("netem limit 100000 delay {} reorder {} gap 1", text("delay"), text("percent")),
        other => panic!("{other} is new"),
    };
    let mut tc = on.command("tc");
    tc.args(["qdisc", "replace", "dev", "eth0", "root"]).args(options.split_whitespace()).env("TC_LIB_DIR", tables.path());
    let output = tc.output().expect("tc");
    assert!(output.status.success(), "{options}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
#[ignore = "needs sch_netem: `cargo xtask vm-test` runs it where that is"]
fn netem_by_hand_passes_every_case_of_accuracy_and_another_value_does_not() {
    let lab = Lab::new();
    let (a, b) = (lab.host("a"), lab.host("b"));
    for (case, family) in cases(Size::Small).iter().zip(Family::BOTH.iter().cycle()) {
        netem(&a, case);
        let route = Route { from: &a, to: &b, family: *family };
        let checks = case.judge(&route);
        for check in &checks {
            println!("{}: {} ({})", check.what, check.measured, check.bar);
        }
        assert_met(&checks);
        a.run("tc qdisc del dev eth0 root");
        let nothing = case.measure(&route);
        assert!(nothing.iter().any(|check| !check.met), "{}: met without any fault: {nothing:#?}", case.name);
    }
}

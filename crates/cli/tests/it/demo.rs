//! `squall demo` and `squall shop` from the outside: what is said, what is written, and that nothing stays.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;

use crate::field::{Field, Victim, text, wait_within};

/// Whether a service of the shop that this process started is there.
fn serves(starter: u32) -> bool {
    let mark = format!("--parent\0{starter}\0");
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    processes.filter_map(|p| std::fs::read(p.path().join("cmdline")).ok()).any(|line| String::from_utf8_lossy(&line).contains(&mark))
}

/// Starts `squall` with its own place for temporary files, and its output to be read.
fn start(field: &Field, args: &[&str]) -> Victim {
    std::fs::create_dir_all(field.path("tmp")).expect("made");
    let mut squall = field.squall();
    squall.args(args).env("TMPDIR", field.path("tmp")).stdout(Stdio::piped()).stderr(Stdio::piped());
    Victim(squall.spawn().expect("started"))
}

/// Reads lines of a child's output up to the first with this text in it.
fn read_up_to(child: &mut Victim, mark: &str) -> impl Read + use<> {
    let mut output = BufReader::new(child.0.stdout.take().expect("piped"));
    let mut line = String::new();
    while !line.contains(mark) {
        line.clear();
        assert!(output.read_line(&mut line).expect("text") > 0, "the output ended before `{mark}` came");
    }
    output
}

fn entries(directory: &Path) -> Vec<String> {
    std::fs::read_dir(directory).expect("there").map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn two_demos_at_once_teach_every_lesson_and_leave_only_reports() {
    let fields = [Field::new(), Field::new()];
    let demos: Vec<Victim> = fields.iter().map(|field| start(field, &["demo", "--reports", "reports"])).collect();
    let pids: Vec<u32> = demos.iter().map(Victim::pid).collect();
    for (demo, field) in demos.into_iter().zip(&fields) {
        let (code, said) = demo.finish();
        assert_eq!(code, Some(0), "{said}");
        for lesson in [
            "1 of 5",
            "held:",
            "deviated:",
            "100 ms more on the way to payments",
            "calls to orders were answered with 503",
            "half of a page that looks whole",
            "5 of 5",
            "charged more than once",
            "crates/shop/src/orders.rs:",
            "Next: run your own",
        ] {
            assert!(said.contains(lesson), "`{lesson}` is not in\n{said}");
        }
        assert!(!said.contains('\x1b'), "no escape codes where there is no terminal");
        for report in ["1-held.html", "2-held.html", "3-deviated.html", "4-held.html", "5-deviated.html"] {
            let html = std::fs::read_to_string(field.path("reports").join(report)).expect("a report");
            assert!(html.contains("<svg"), "{report} has a chart");
        }
        assert_eq!(field.latest()["verdict"], "deviated");
        assert_eq!(entries(&field.path("tmp")), Vec::<String>::new());
    }
    assert!(!pids.into_iter().any(serves));
}

#[test]
fn ctrl_c_in_the_middle_of_the_demo_closes_everything() {
    let field = Field::new();
    let mut demo = start(&field, &["demo"]);
    let pid = demo.pid();
    let mut rest = read_up_to(&mut demo, "in force on orders-payments");
    demo.signal(Signal::INT);
    let mut said = String::new();
    rest.read_to_string(&mut said).expect("text");
    let (code, error) = demo.finish();
    assert_eq!(code, Some(4), "{said}{error}");
    assert!(said.contains("reverted"), "{said}");
    assert!(!serves(pid));
    assert_eq!(entries(&field.path("tmp")), Vec::<String>::new());
}

#[test]
fn the_shop_dies_with_its_starter() {
    let field = Field::new();
    let mut up = start(&field, &["shop", "up", "--port", "0"]);
    let pid = up.pid();
    let _rest = read_up_to(&mut up, "Ctrl-C stops it");
    assert!(serves(pid));
    up.signal(Signal::KILL);
    wait_within(Duration::from_secs(5), "every service is gone", || !serves(pid));
    // What it could not remove itself, the next one does.
    assert_eq!(entries(&field.path("tmp")).len(), 1);
    drop(up);
    let mut next = start(&field, &["shop", "up", "--port", "0"]);
    let _rest = read_up_to(&mut next, "Ctrl-C stops it");
    let left = entries(&field.path("tmp"));
    assert!(left.len() == 1 && left[0].contains(&next.pid().to_string()), "{left:?}");
}

#[test]
fn the_shop_closes_in_order_on_sigterm() {
    let field = Field::new();
    let mut up = start(&field, &["shop", "up", "--port", "0"]);
    let pid = up.pid();
    let _rest = read_up_to(&mut up, "Ctrl-C stops it");
    up.signal(Signal::TERM);
    let (code, said) = up.finish();
    assert_eq!(code, Some(0), "{said}");
    assert!(!serves(pid));
    assert_eq!(entries(&field.path("tmp")), Vec::<String>::new());
}

#[test]
fn the_shop_may_have_a_proxy_on_every_edge_and_a_front_door_with_tls() {
    let field = Field::new();
    let mut up = start(&field, &["shop", "up", "--port", "0", "--proxies", "0"]);
    let mut lines = BufReader::new(up.0.stdout.take().expect("piped")).lines().map_while(Result::ok);
    let mut after = |mark: &str| {
        let line = lines.find(|line| line.contains(mark)).unwrap_or_else(|| panic!("nothing says `{mark}`"));
        let (_, rest) = line.split_once(mark).expect("it is in the line");
        rest.split([' ', ':']).take(2).collect::<Vec<_>>().join(":")
    };
    let (api, front) = (after("Toxiproxy's API at http://"), after("TLS is https://"));
    let listed = field.squall().args(["proxy", "list"]).env("TOXIPROXY_URL", format!("http://{api}")).output().expect("ran");
    for proxy in ["gateway-orders", "gateway-cache", "orders-payments", "payments-ledger", "front"] {
        assert!(text(&listed).contains(proxy), "{}", text(&listed));
    }
    let pem = field.squall().args(["proxy", "ca", "--pem"]).output().expect("ran");
    let ca = field.write("ca.pem", &text(&pem)).display().to_string();
    let probe = format!(
        "apiVersion: squall.dev/v1\nkind: Experiment\nmetadata: {{ name: front }}\nspec:\n  hypothesis:\n    statement: The door is good.\n    \
         probes:\n      - name: door\n        http: {{ url: \"https://{front}/products\", tls: {{ ca: {ca} }} }}\n        \
         expect: {{ eq: 200 }}\n  steady: {{ for: 500ms, every: 100ms }}\n  method:\n    - name: late\n      fault: proxy.latency\n      \
         target: {{ proxy: {{ api: \"http://{api}\", name: front }} }}\n      with: {{ delay: 5ms }}\n      for: 500ms\n  \
         recovery: {{ within: 10s, stable: 300ms }}\n"
    );
    let ran = field.run(&probe);
    assert_eq!(ran.status.code(), Some(0), "{}", text(&ran));
    up.signal(Signal::TERM);
    assert_eq!(up.finish().0, Some(0));
}

#[test]
fn the_library_is_searched_shown_and_copied() {
    let field = Field::new();
    let say = |args: &[&str]| {
        let output = field.squall().arg("library").args(args).output().expect("ran");
        (output.status.code(), text(&output))
    };
    let (code, list) = say(&["list", "--tag", "memory"]);
    assert!(code == Some(0) && list.contains("memory-leak") && !list.contains("cache-loss"), "{list}");
    assert_eq!(say(&["list", "no such thing"]).0, Some(2));
    let (_, shown) = say(&["show", "process-pause"]);
    assert!(shown.contains("Name of the process (default payments)"), "{shown}");
    let (code, said) = say(&["new", "process-pause", "--set", "process=nginx", "-o", "mine.yaml"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(std::fs::read_to_string(field.path("mine.yaml")).expect("written").contains("name: \"nginx\""));
    let validated = field.squall().args(["validate", "mine.yaml"]).output().expect("ran");
    assert_eq!(validated.status.code(), Some(0), "{}", text(&validated));
    let (code, said) = say(&["new", "process-pause", "-o", "mine.yaml"]);
    assert!(code == Some(2) && said.contains("--force"), "{said}");
    let (code, said) = say(&["new", "process-pause", "--set", "proces=nginx"]);
    assert!(code == Some(2) && said.contains("did you mean `process`?"), "{said}");
}

#[test]
fn the_first_example_holds() {
    let field = Field::new();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/first.yaml");
    let output = field.squall().args(["run", example]).output().expect("ran");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
}

#[test]
fn the_readme_shows_the_first_example_as_it_is() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let example = std::fs::read_to_string(format!("{root}/examples/first.yaml")).expect("the example");
    let readme = std::fs::read_to_string(format!("{root}/README.md")).expect("the README");
    let manifest = example.split_once("apiVersion").expect("a manifest").1;
    assert!(readme.contains(&format!("```yaml\napiVersion{manifest}```")), "copy examples/first.yaml into README.md");
}

//! Generated requests, good, edged and made to smuggle, through the proxy to nginx: each response belongs to its request,
//! nothing that can be read in two ways gets through, and what a rule answers never reaches nginx.
//!
//! 2,000 requests by default. `SQUALL_PROXY_REQUESTS=10000 cargo nextest run -p squall-proxy http_conformance` runs the whole
//! set; `SQUALL_PROXY_SEED` takes another one.

mod client;
mod generate;
mod nginx;

use std::collections::BTreeMap;

use client::{Response, run};
use generate::{Class, Draws, Script};
use nginx::Nginx;
use squall_proxy::{Options, Proxies, RuleSpec};

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().map_or(default, |text| text.parse().unwrap())
}

fn rules() -> Vec<RuleSpec> {
    let rules = serde_json::json!([
        {"name": "blocked", "fault": "http.abort", "with": {"status": 418}, "match": {"path": "/blocked*"}},
        {"name": "nobody", "fault": "http.abort", "with": {"status": 599}, "match": {"header": {"x-nobody-sends-this": "*"}}},
    ]);
    serde_json::from_value(rules).unwrap()
}

#[test]
fn no_generated_request_desynchronises_a_connection_or_slips_through() {
    let (requests, seed) = (number("SQUALL_PROXY_REQUESTS", 2000), number("SQUALL_PROXY_SEED", 1));
    let nginx = Nginx::start();
    let proxies = Proxies::start(&Options { workers: 2, seed: 1, events: 0, ..Options::default() }).unwrap();
    let route = proxies.open("nginx", "127.0.0.1:0", &format!("unix:{}", nginx.socket("through").display())).unwrap();
    route.set_rules(&rules(), None).unwrap();

    let mut scripts = Vec::new();
    let mut made = 0;
    while made < requests {
        let script = Script::generate(&mut Draws::new(seed, scripts.len() as u64), scripts.len());
        made += script.requests.len() as u64;
        scripts.push(script);
    }
    let threads = 4;
    let share = scripts.len().div_ceil(threads);
    let failures: Vec<String> = std::thread::scope(|scope| {
        let parts = scripts.chunks(share);
        let running: Vec<_> = parts
            .map(|part| scope.spawn(|| part.iter().filter_map(|script| check(script, route.listen(), &nginx).err()).collect::<Vec<_>>()))
            .collect();
        running.into_iter().flat_map(|part| part.join().unwrap()).collect()
    });
    assert!(failures.is_empty(), "{} of {} connections failed (seed {seed}):\n{}", failures.len(), scripts.len(), first(&failures));
    check_log(&scripts, &nginx);
}

fn first(failures: &[String]) -> String {
    failures.iter().take(8).cloned().collect::<Vec<_>>().join("\n\n")
}

/// One connection: what came back belongs to what was asked, in order, and is what nginx says without the proxy.
fn check(script: &Script, proxy: &str, nginx: &Nginx) -> Result<(), String> {
    let stream = std::net::TcpStream::connect(proxy).unwrap();
    stream.set_nodelay(true).unwrap();
    let outcome = run(stream, script);
    let fail = |what: String| Err(format!("{what}\nscript: {script:#?}\ngot: {outcome:#?}"));
    if let Some(error) = &outcome.error {
        return fail(format!("the answers cannot be read: {error}"));
    }
    let mut answers = outcome.responses.iter();
    for request in &script.requests {
        let answer = answers.next();
        let good = match (request.class, answer) {
            (Class::Served, Some(answer)) => answer.status == request.status && answer.belongs_to(request),
            (Class::Blocked, Some(answer)) => answer.status == 418 && answer.field("x-echo").is_none(),
            (Class::Refused, Some(answer)) => answer.status == 400 && answer.field("x-echo").is_none(),
            // Its head was good: nginx may have answered before the body broke.
            (Class::Broken | Class::Damaged, None) => true,
            (Class::Broken, Some(answer)) => matches!(answer.status, 400 | 502) || answer.belongs_to(request),
            (Class::Served | Class::Blocked | Class::Refused, None) | (Class::Damaged, Some(_)) => false,
        };
        if !good {
            return fail(format!("wrong answer to {}: {answer:?}", request.marker));
        }
        let over = request.closes || answer.is_some_and(Response::closes) || !matches!(request.class, Class::Served | Class::Blocked);
        if over {
            break;
        }
    }
    if let Some(more) = answers.next() {
        return fail(format!("an answer that nobody asked for: {more:?}"));
    }
    compare(script, nginx, &outcome.responses).or_else(fail)
}

/// What the proxy passed on is, field for field, what nginx says to the same bytes.
fn compare(script: &Script, nginx: &Nginx, through: &[Response]) -> Result<(), String> {
    let served: Vec<_> = script.requests.iter().take_while(|request| request.class == Class::Served).cloned().collect();
    if served.is_empty() {
        return Ok(());
    }
    let alone = Script { requests: served, pieces: vec![], half_close: false };
    let direct = run(std::os::unix::net::UnixStream::connect(nginx.socket("direct")).unwrap(), &alone);
    if direct.responses.len() < alone.requests.len() && !alone.requests.iter().any(|request| request.closes) {
        return Err(format!("nginx alone answers otherwise: {direct:?}"));
    }
    let differs = direct.responses.iter().zip(through).find(|(direct, through)| direct != through);
    differs.map_or(Ok(()), |(direct, through)| Err(format!("nginx alone says {direct:?}, through the proxy {through:?}")))
}

/// nginx saw each good request once, and nothing of what was to be kept from it.
fn check_log(scripts: &[Script], nginx: &Nginx) {
    let class: BTreeMap<&str, Class> =
        scripts.iter().flat_map(|script| &script.requests).map(|request| (request.marker.as_str(), request.class)).collect();
    let expected = class.values().filter(|class| **class == Class::Served).count();
    let mut seen = BTreeMap::<String, usize>::new();
    let log = nginx.log_with(|log| log.lines().filter(|line| served(line, &class)).count() >= expected);
    for line in log.lines() {
        assert!(!line.contains("/smuggled") && !line.contains("/blocked"), "nginx was asked: {line}");
        let marker = line.split(' ').next().unwrap_or_default();
        assert!(!matches!(class.get(marker), Some(Class::Refused | Class::Blocked)), "nginx was asked: {line}");
        *seen.entry(marker.to_owned()).or_default() += 1;
    }
    for (marker, class) in class {
        let count = seen.get(marker).copied().unwrap_or_default();
        assert!(class != Class::Served || count == 1, "nginx saw {marker} {count} times");
    }
}

fn served(line: &str, class: &BTreeMap<&str, Class>) -> bool {
    line.split(' ').next().is_some_and(|marker| class.get(marker) == Some(&Class::Served))
}

//! Every ready experiment, run for real on a shop of its own, with a verdict that is known beforehand and nothing left over.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use squall_proxy::api::{Api, ApiOptions};
use squall_proxy::tls::AuthorityDir;
use squall_proxy::{Control, Happened, Options};
use squall_shop::{Ports, Service, Shop};

use crate::field::{Field, Victim, text, wait_within};

/// A shop, and a place for its state and Squall's.
struct Market {
    // Dropped first: the shop writes into the field.
    shop: Shop,
    field: Field,
    edges: Option<Edges>,
}

/// Fault proxies on the shop's edges, and a front door with TLS.
struct Edges {
    control: Control,
    api: Api,
    authority: AuthorityDir,
}

impl Market {
    fn open() -> Self {
        let field = Field::new();
        let program = Path::new(env!("CARGO_BIN_EXE_squall"));
        let shop = Shop::start(program, &field.path("shop"), Ports::Free).expect("a shop");
        Self { shop, field, edges: None }
    }

    /// The same, with a proxy on every edge.
    fn with_proxies() -> Self {
        let field = Field::new();
        let program = Path::new(env!("CARGO_BIN_EXE_squall"));
        let authority = AuthorityDir::in_memory();
        let control = Control::start(&Options { authority: authority.clone(), ..Options::default() }).expect("threads");
        let api = Api::start(control.clone(), "127.0.0.1:0", ApiOptions::default()).expect("a port");
        let through = |edge: squall_shop::Edge| {
            let proxy = control.proxy(&format!("{}-{}", edge.from.name(), edge.to.name()), &edge.address.to_string());
            proxy.and_then(|proxy| proxy.listen()).map_err(std::io::Error::other)?.parse().map_err(std::io::Error::other)
        };
        let shop = Shop::start_through(program, &field.path("shop"), Ports::Free, through).expect("a shop");
        let front = control.proxy("front", &shop.address(Service::Gateway).to_string()).expect("a port");
        front.tls("upstream=plain").expect("it terminates TLS");
        Self { shop, field, edges: Some(Edges { control, api, authority }) }
    }

    fn edges(&self) -> &Edges {
        self.edges.as_ref().expect("this shop has proxies")
    }

    /// What experiments on edges are given: where the API is, and what users ask for.
    fn api_and(&self, page: &str) -> Vec<(&'static str, String)> {
        vec![("api", format!("http://{}", self.edges().api.address())), ("url", self.at(Service::Gateway, page))]
    }

    /// How many requests got the fault of a rule.
    fn hits(&self) -> usize {
        let events = self.edges().control.events().after(0);
        events.iter().filter(|event| matches!(&event.what, Happened::Decided { fault, .. } if fault.is_some())).count()
    }

    fn at(&self, service: Service, path: &str) -> String {
        format!("{}{path}", self.shop.url(service))
    }

    fn command(&self, name: &str, set: &[(&str, String)]) -> std::process::Command {
        let mut squall = self.field.squall();
        squall.env(squall_tower::directory::VARIABLE, self.field.path("faults"));
        squall.args(["run", "--plain", &format!("library:{name}")]);
        for (parameter, value) in set {
            squall.arg("--set").arg(format!("{parameter}={value}"));
        }
        squall
    }

    fn run(&self, name: &str, set: &[(&str, String)]) -> Output {
        self.command(name, set).output().expect("ran")
    }

    /// No proxy has a toxic or a rule left, and all of them listen.
    fn edges_are_whole(&self, name: &str) {
        for proxy in self.edges.iter().flat_map(|edges| edges.control.list()) {
            assert!(proxy.enabled && proxy.toxics.is_empty() && proxy.rules.is_empty(), "{name}: {proxy:?}");
        }
    }

    /// The verdict is as expected, nothing is in force, and the shop's services all answer.
    fn expect(&self, name: &str, code: i32, output: &Output) {
        assert_eq!(output.status.code(), Some(code), "{name}: {}", text(output));
        self.nothing_left(name);
    }

    fn nothing_left(&self, name: &str) {
        let recover = self.field.squall().arg("recover").output().expect("ran");
        assert!(recover.status.success(), "{name}: {}", text(&recover));
        let shown = self.field.latest();
        let injections = shown["injections"].as_array().expect("injections");
        assert!(!injections.is_empty(), "{name}: something was injected");
        for injection in injections {
            assert!(!injection["by"].is_null() && injection["stuck"] != true, "{name}: {injection}");
        }
        self.edges_are_whole(name);
        for service in Service::ALL {
            wait_within(Duration::from_secs(10), "every service answers", || healthy(self.shop.address(service)));
        }
        let state = self.field.state().display().to_string();
        wait_within(Duration::from_secs(5), "no watchdog and no load is left", || !somebody_mentions(&state));
    }
}

fn healthy(address: std::net::SocketAddr) -> bool {
    use std::io::{Read, Write};
    let ask = || {
        let mut stream = std::net::TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok::<_, std::io::Error>(answer.starts_with("HTTP/1.1 200"))
    };
    ask().unwrap_or(false)
}

/// Whether the command line of any process has this text in it.
fn somebody_mentions(text: &str) -> bool {
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    let lines = processes.filter_map(|p| std::fs::read(p.path().join("cmdline")).ok());
    lines.into_iter().any(|line| String::from_utf8_lossy(&line).contains(text))
}

/// Durations that keep a test short, and a limit that holds on a machine that runs other tests beside it.
fn short(with: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    let defaults = [("steady", "2s"), ("recover", "20s")];
    defaults.iter().chain(with).map(|(name, value)| (*name, (*value).to_owned())).collect()
}

/// For experiments on pages that should stay good: generous, since the machine is busy with other tests.
const CALM: [(&str, &str); 3] = [("limit", "3s"), ("errors", "20%"), ("for", "3s")];

macro_rules! experiments {
    ($list:ident, $open:expr; $($name:literal => $test:ident $run:expr;)*) => {
        /// Experiments that are tested here.
        const $list: &[&str] = &[$($name),*];

        $(
            #[test]
            fn $test() {
                let market = $open();
                let run: fn(&Market, &str) = $run;
                run(&market, $name);
            }
        )*
    };
}

/// Where the parameters `process`, `port` and `url` point.
fn on(market: &Market, service: Service, page: (Service, &str)) -> Vec<(&'static str, String)> {
    vec![("process", service.name().to_owned()), ("port", market.shop.port(service).to_string()), ("url", market.at(page.0, page.1))]
}

fn held(market: &Market, name: &str, set: Vec<(&'static str, String)>, more: &[(&'static str, &str)]) {
    let set = [short(more), set].concat();
    market.expect(name, 0, &market.run(name, &set));
}

fn deviated(market: &Market, name: &str, set: Vec<(&'static str, String)>, more: &[(&'static str, &str)]) {
    let set = [short(more), set].concat();
    market.expect(name, 1, &market.run(name, &set));
}

fn products(market: &Market) -> Vec<(&'static str, String)> {
    vec![("url", market.at(Service::Gateway, "/products"))]
}

/// A service of its own with the layer of `squall-tower`, for as long as the test runs.
fn layered(market: &Market) -> Vec<(&'static str, String)> {
    let faults = squall_tower::Faults::watch_in("checkout", [market.field.path("faults")]);
    let (told, address) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
            told.send(listener.local_addr().expect("an address")).expect("heard");
            let app = axum::Router::new().route("/cart", axum::routing::get(|| async { "3 things" })).layer(faults.layer());
            axum::serve(listener, app).await
        })
    });
    vec![("url", format!("http://{}/cart", address.recv().expect("it listens")))]
}

experiments! {
    TESTED, Market::open;
    "app-latency" => a_service_that_is_slow_from_within_is_too_slow |m, name| {
        let more = [("limit", "800ms"), ("delay", "1s"), ("path", "/c*"), ("for", "4s")];
        deviated(m, name, layered(m), &more);
    };
    "app-errors" => a_service_that_fails_from_within_fails_its_users |m, name| {
        deviated(m, name, layered(m), &[("limit", "3s"), ("errors", "20%"), ("percent", "60%"), ("for", "4s")]);
    };
    "process-kill" => a_killed_process_is_back_in_time |m, name| {
        held(m, name, on(m, Service::Payments, (Service::Payments, "/healthz")), &[("back", "4s")]);
        assert_eq!(m.shop.restarts(Service::Payments), 1);
    };
    "process-restart" => a_restarted_process_is_back_in_time |m, name| {
        held(m, name, on(m, Service::Payments, (Service::Payments, "/healthz")), &[("back", "4s")]);
        assert_eq!(m.shop.restarts(Service::Payments), 1);
    };
    "process-pause" => the_order_page_holds_while_payments_hangs_and_nobody_buys |m, name| {
        held(m, name, on(m, Service::Payments, (Service::Gateway, "/orders/latest")), &CALM);
    };
    "process-crash-loop" => a_crash_loop_of_payments_does_not_touch_the_products |m, name| {
        held(m, name, on(m, Service::Payments, (Service::Gateway, "/products")), &[CALM.as_slice(), &[("every", "500ms")]].concat());
        assert!(m.shop.restarts(Service::Payments) >= 2);
    };
    "slow-start" => products_stay_fast_while_the_cache_is_cold |m, name| {
        held(m, name, on(m, Service::Cache, (Service::Gateway, "/products")), &[("limit", "3s"), ("errors", "20%"), ("watch", "3s")]);
        assert_eq!(m.shop.restarts(Service::Cache), 1);
    };
    "ramped-pause" => instances_hang_stage_by_stage |m, name| {
        let workers: Vec<Victim> = (0..4).map(|_| m.field.victim("squall-worker")).collect();
        let more = [CALM.as_slice(), &[("process", "squall-worker"), ("stage", "1s")]].concat();
        held(m, name, products(m), &more);
        let injections = m.field.latest()["injections"].as_array().map_or(0, Vec::len);
        assert_eq!(injections, 2, "a quarter of four first, then half of them");
        assert!(workers.iter().all(|worker| worker.state() != Some('T')));
    };
    "dependency-failure" => a_ledger_that_hangs_makes_errors_slow |m, name| {
        let set = vec![("port", m.shop.port(Service::Ledger).to_string()), ("url", m.at(Service::Gateway, "/checkout"))];
        deviated(m, name, set, &[("for", "6s")]);
    };
    "cascading-failure" => payments_that_hang_take_the_order_page_with_them |m, name| {
        let mut set = on(m, Service::Payments, (Service::Gateway, "/orders/latest"));
        set.push(("busy_url", m.at(Service::Gateway, "/checkout")));
        deviated(m, name, set, &[("for", "6s"), ("busy_rate", "40/s")]);
    };
    "retry-storm" => a_short_outage_charges_customers_again |m, name| {
        let mut set = on(m, Service::Payments, (Service::Gateway, "/checkout"));
        set.push(("count_url", m.at(Service::Ledger, "/stats")));
        deviated(m, name, set, &[("for", "4s"), ("watch", "4s"), ("recover", "3s")]);
    };
    "cache-loss" => products_are_shown_without_the_cache |m, name| {
        let mut set = on(m, Service::Cache, (Service::Gateway, "/products"));
        set.remove(0);
        held(m, name, set, &[CALM.as_slice(), &[("watch", "3s")]].concat());
        assert_eq!(m.shop.restarts(Service::Cache), 1);
    };
    "cpu-saturation" => products_are_shown_beside_a_busy_neighbour |m, name| {
        held(m, name, products(m), &[CALM.as_slice(), &[("load", "30%"), ("cores", "1")]].concat());
    };
    "cpu-host-saturation" => products_are_shown_on_a_busy_host |m, name| {
        held(m, name, products(m), &[CALM.as_slice(), &[("load", "60%"), ("cores", "1")]].concat());
    };
    "memory-pressure" => products_are_shown_with_less_memory |m, name| {
        held(m, name, products(m), &[CALM.as_slice(), &[("size", "32MiB")]].concat());
    };
    "memory-leak" => products_are_shown_while_memory_leaks |m, name| {
        held(m, name, products(m), &[CALM.as_slice(), &[("leak", "20MiB/s"), ("most", "32MiB")]].concat());
    };
    "memory-spike" => products_are_shown_while_memory_jumps |m, name| {
        let spike = [("size", "32MiB"), ("rise", "200ms"), ("hold", "500ms"), ("every", "1s")];
        held(m, name, products(m), &[CALM.as_slice(), &spike].concat());
    };
    "custom-command" => a_flag_file_closes_the_checkout_alone |m, name| {
        let flag = m.shop.maintenance_flag();
        let mut set = products(m);
        set.push(("file", flag.display().to_string()));
        held(m, name, set, &CALM);
        assert!(!flag.exists());
    };
    "custom-http" => a_switch_closes_the_checkout_alone |m, name| {
        let mut set = products(m);
        set.push(("switch", m.at(Service::Gateway, "/maintenance")));
        held(m, name, set, &CALM);
        assert!(!m.shop.maintenance_flag().exists());
    };
    "game-day-step" => a_person_lets_the_second_fault_come |m, name| {
        let set = [short(&CALM), on(m, Service::Payments, (Service::Gateway, "/products"))].concat();
        let mut run = Victim(m.command(name, &set).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started"));
        let said = BufReader::new(run.0.stdout.take().expect("piped")).lines().map_while(Result::ok);
        let mut lines = Vec::new();
        for line in said {
            if line.contains("suspended for up to") {
                let go_on = m.field.squall().arg("continue").output().expect("ran");
                assert!(go_on.status.success(), "{}", text(&go_on));
            }
            lines.push(line);
        }
        let (code, error) = run.finish();
        let said = format!("{}\n{error}", lines.join("\n"));
        assert!(said.contains("Did the team notice?"), "{said}");
        assert_eq!(code, Some(0), "{said}");
        m.nothing_left(name);
        assert_eq!(m.shop.restarts(Service::Payments), 1);
    };
    "conditional-step" => the_harder_fault_comes_when_the_milder_one_did_no_harm |m, name| {
        let set = on(m, Service::Cache, (Service::Gateway, "/products"));
        held(m, name, set, &[CALM.as_slice(), &[("short", "1s"), ("pause", "1s")]].concat());
        assert_eq!(m.field.latest()["injections"].as_array().map_or(0, Vec::len), 2);
    };
    "parallel-steps" => products_are_shown_on_a_bad_day |m, name| {
        let set = on(m, Service::Cache, (Service::Gateway, "/products"));
        held(m, name, set, &[CALM.as_slice(), &[("load", "20%"), ("size", "32MiB"), ("after", "1s")]].concat());
        assert_eq!(m.field.latest()["injections"].as_array().map_or(0, Vec::len), 3);
    };
}

experiments! {
    TESTED_ON_EDGES, Market::with_proxies;
    "dependency-latency" => a_slow_way_to_payments_makes_checkouts_slower_and_none_fail |m, name| {
        let more = [CALM.as_slice(), &[("delay", "100ms"), ("jitter", "20ms")]].concat();
        held(m, name, m.api_and("/checkout"), &more);
    };
    "dependency-down" => products_are_shown_while_nothing_listens_where_the_cache_was |m, name| {
        held(m, name, m.api_and("/products"), &CALM);
    };
    "half-open-stall" => products_are_shown_while_the_cache_is_silent |m, name| {
        held(m, name, m.api_and("/products"), &CALM);
    };
    "error-storm" => hardly_a_buyer_notices_a_storm_of_503 |m, name| {
        held(m, name, m.api_and("/checkout"), &CALM);
        assert!(m.hits() > 0);
    };
    "slow-body" => a_catalogue_that_comes_drop_by_drop_has_no_limit |m, name| {
        deviated(m, name, m.api_and("/catalogue"), &[("for", "6s")]);
        assert!(m.hits() > 0);
    };
    "throttled-function" => calls_above_a_rate_are_lost_by_callers_that_do_not_wait |m, name| {
        deviated(m, name, m.api_and("/checkout"), &[("for", "4s"), ("rate", "20/s"), ("calls", "2/s"), ("burst", "2")]);
        assert!(m.hits() > 0);
    };
    "cut-stream" => half_a_catalogue_is_taken_for_the_whole |m, name| {
        deviated(m, name, m.api_and("/catalogue"), &[("for", "3s")]);
        assert!(m.hits() > 0);
    };
    "data-drift" => a_price_that_drifts_is_shown_as_it_comes |m, name| {
        deviated(m, name, m.api_and("/products"), &[("for", "3s")]);
        assert!(m.hits() > 0);
    };
    "expired-certificate" => kept_connections_outlive_a_certificate_and_the_probe_sees_it_expired |m, name| {
        let edges = m.edges();
        let ca = m.field.write("ca.pem", &edges.authority.get().expect("an authority").pem());
        let address = edges.control.handle("front").listen().expect("it listens");
        let set = vec![
            ("api", format!("http://{}", edges.api.address())),
            ("url", format!("https://{address}/products")),
            ("address", address),
            ("ca", ca.display().to_string()),
        ];
        held(m, name, set, &[("for", "3s")]);
        let output = m.field.squall().args(["show", "latest", "--events", "--output", "json"]).output().expect("ran");
        let seen = String::from_utf8_lossy(&output.stdout);
        assert!(seen.contains("\"expired\"") && seen.contains("\"none\""), "{seen}");
        assert!(seen.contains(" handshakes got the fault"), "{seen}");
    };
}

#[test]
fn every_file_of_the_library_is_run_here() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../library");
    let files: BTreeSet<String> = std::fs::read_dir(directory)
        .expect("the library")
        .filter_map(|file| file.expect("a file").file_name().to_string_lossy().strip_suffix(".yaml").map(str::to_owned))
        .collect();
    let tested: BTreeSet<String> =
        TESTED.iter().chain(TESTED_ON_EDGES).chain(crate::clusters::TESTED).map(|name| (*name).to_owned()).collect();
    assert_eq!(tested, files);
}

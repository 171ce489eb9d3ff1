//! A service (nginx) that finds its dependency by name, and the name server fails it: once a page that is kept, once one that is not.

use std::process::Stdio;

use squall_testkit::eventually_ok;
use squall_testkit::net::{Host, Lab};

use crate::field::{Field, Victim, text};

/// The name that the service asks for with each request, or nearly.
const NAME: &str = "stock.shop.test";

/// A name server, a dependency, the service in front of it, and a host from which it is used.
struct Chain {
    front: Host,
    client: Host,
    field: Field,
    // Dropped before the lab, whatever else it finds left.
    _processes: [Victim; 3],
    _lab: Lab,
}

impl Chain {
    fn start() -> Self {
        super::need("nginx", "nginx");
        super::need("dnsmasq", "dnsmasq-base");
        let (lab, field) = (Lab::new(), Field::new());
        let (names, stock, front, client) = (lab.host("names"), lab.host("stock"), lab.host("front"), lab.host("client"));
        let mut dnsmasq = names.command("dnsmasq");
        dnsmasq.args(["--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null", "--user=root", "--pid-file"]);
        dnsmasq.arg(format!("--listen-address={}", names.v4())).arg("--bind-interfaces");
        dnsmasq.arg(format!("--host-record={NAME},{}", stock.v4())).stderr(Stdio::null());
        let behind = format!("server {{ listen {}:8080; location / {{ return 200 'ten left'; }} }}", stock.v4());
        let service = format!(
            "resolver {} valid=1s ipv6=off;
             resolver_timeout 1s;
             proxy_cache_path {} keys_zone=kept:1m;
             server {{
               listen {}:8080;
               set $stock {NAME};
               location /fragile {{ proxy_pass http://$stock:8080; }}
               location /kept {{
                 proxy_pass http://$stock:8080;
                 proxy_cache kept;
                 proxy_cache_valid 200 1s;
                 # Users get what is there while it is asked for again; nginx has no other way around a name server that fails.
                 proxy_cache_use_stale updating error timeout;
                 proxy_cache_background_update on;
               }}
             }}",
            names.v4(),
            field.path("cache").display(),
            front.v4(),
        );
        let processes =
            [Victim(dnsmasq.spawn().expect("started")), nginx(&field, &stock, "stock", &behind), nginx(&field, &front, "front", &service)];
        let chain = Self { front, client, field, _processes: processes, _lab: lab };
        for page in ["fragile", "kept"] {
            eventually_ok("the service answers", || chain.get(page));
        }
        chain
    }

    fn url(&self, page: &str) -> String {
        format!("http://{}:8080/{page}", self.front.v4())
    }

    fn get(&self, page: &str) -> Result<(), String> {
        let output = self.client.command("curl").args(["-sf", "--max-time", "2", &self.url(page)]).output().expect("curl");
        if output.stdout == b"ten left" { Ok(()) } else { Err(text(&output)) }
    }

    /// Runs the experiment on a page: its exit code and what it said.
    fn run(&self, page: &str) -> (Option<i32>, String) {
        let set = [
            ("line", self.field.path("front.conf").display().to_string()),
            ("dependency", NAME.to_owned()),
            ("url", self.url(page)),
            ("limit", "3s".to_owned()),
            ("errors", "20%".to_owned()),
            ("steady", "2s".to_owned()),
            ("for", "5s".to_owned()),
            ("recover", "20s".to_owned()),
        ];
        let output = super::run(&self.field, &self.client, "dns-failure", &set);
        self.get("fragile").expect("names are resolved again");
        (output.status.code(), text(&output))
    }
}

/// nginx on a host, with what it serves.
fn nginx(field: &Field, host: &Host, name: &str, serves: &str) -> Victim {
    let at = |file: &str| field.path(&format!("{name}.{file}"));
    let places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let places: String = places.map(|place| format!("{place}_temp_path {};\n", at(place).display())).concat();
    let config = format!(
        "daemon off;\nuser root;\nworker_processes 1;\npid {};\nerror_log {};\nevents {{ worker_connections 256; }}\n\
         http {{\naccess_log off;\n{places}{serves}\n}}\n",
        at("pid").display(),
        at("log").display()
    );
    let config = field.write(&format!("{name}.conf"), &config);
    let mut nginx = host.command("nginx");
    nginx.arg("-e").arg(at("log")).arg("-c").arg(config).stdout(Stdio::null()).stderr(Stdio::null());
    Victim(nginx.spawn().expect("started"))
}

#[test]
fn a_page_that_is_kept_is_shown_while_the_name_behind_it_cannot_be_resolved() {
    let chain = Chain::start();
    let (code, said) = chain.run("kept");
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_page_that_needs_the_name_each_time_makes_the_experiment_deviate() {
    let chain = Chain::start();
    let (code, said) = chain.run("fragile");
    assert_eq!(code, Some(1), "{said}");
}

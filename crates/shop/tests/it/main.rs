//! The shop as processes: it sells, it survives what it should survive, and it has the mistakes that it should have.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use squall_shop::{Edge, Ports, Service, Shop};

struct TestShop {
    shop: Shop,
    _directory: tempfile::TempDir,
}

fn shop() -> TestShop {
    let directory = tempfile::tempdir().expect("a directory");
    let program = Path::new(env!("CARGO_BIN_EXE_squall-shop"));
    TestShop { shop: Shop::start(program, directory.path(), Ports::Free).expect("a shop"), _directory: directory }
}

impl TestShop {
    fn ask(&self, service: Service, method: &str, path: &str) -> (u16, String) {
        ask(self.shop.address(service), method, path).expect("an answer")
    }

    fn signal(&self, service: Service, signal: Signal) {
        let pid = i32::try_from(self.shop.pid(service).expect("it runs")).expect("a pid");
        kill_process(Pid::from_raw(pid).expect("a pid"), signal).expect("the signal is sent");
    }
}

fn ask(address: std::net::SocketAddr, method: &str, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "{method} {path} HTTP/1.1\r\nhost: shop\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let status = text.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or_else(|| std::io::Error::other("no status"))?;
    Ok((status, text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()))
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("not within ten seconds: {what}");
}

#[test]
fn a_checkout_reaches_the_books_and_every_service_tells_its_health_and_metrics() {
    let shop = shop();
    let (status, body) = shop.ask(Service::Gateway, "POST", "/checkout");
    assert_eq!(status, 200, "{body}");
    let books = std::fs::read_to_string(shop.shop.books()).expect("the books");
    assert_eq!(books.lines().count(), 1, "{books}");
    let (_, latest) = shop.ask(Service::Gateway, "GET", "/orders/latest");
    assert!(books.contains(latest.split('"').nth(3).expect("the order's number")), "{latest} in {books}");
    for service in Service::ALL {
        assert_eq!(shop.ask(service, "GET", "/healthz").0, 200, "{service}");
        assert!(shop.ask(service, "GET", "/metrics").1.contains("http_request_duration_seconds_count"), "{service}");
        let pid = shop.shop.pid(service).expect("it runs");
        assert_eq!(std::fs::read_to_string(format!("/proc/{pid}/comm")).expect("its name").trim(), service.name());
    }
    assert!(shop.ask(Service::Gateway, "GET", "/metrics").1.contains("http_requests_total{status=\"200\"} 2"));
}

#[test]
fn maintenance_closes_the_checkout_alone() {
    let shop = shop();
    assert_eq!(shop.ask(Service::Gateway, "GET", "/maintenance").0, 404);
    assert_eq!(shop.ask(Service::Gateway, "POST", "/maintenance").0, 200);
    assert!(shop.shop.maintenance_flag().exists());
    assert_eq!(shop.ask(Service::Gateway, "POST", "/checkout").0, 503);
    assert_eq!(shop.ask(Service::Gateway, "GET", "/products").0, 200);
    for _ in 0..2 {
        assert_eq!(shop.ask(Service::Gateway, "DELETE", "/maintenance").0, 200, "off is off, however often it is asked for");
    }
    assert_eq!(shop.ask(Service::Gateway, "POST", "/checkout").0, 200);
}

#[test]
fn a_killed_service_comes_back_on_its_port() {
    let shop = shop();
    let before = shop.shop.pid(Service::Payments);
    shop.signal(Service::Payments, Signal::KILL);
    let address = shop.shop.address(Service::Payments);
    eventually("payments is back", || shop.shop.pid(Service::Payments) != before && ask(address, "GET", "/healthz").is_ok());
    assert_eq!(shop.shop.restarts(Service::Payments), 1);
    assert_eq!(shop.ask(Service::Gateway, "POST", "/checkout").0, 200);
}

#[test]
fn products_are_shown_without_the_cache() {
    let shop = shop();
    // The first question fills the cache, which takes longer than the gateway waits.
    eventually("the cache is filled", || shop.ask(Service::Gateway, "GET", "/products").1.contains("\"cache\""));
    shop.signal(Service::Cache, Signal::STOP);
    let (status, body) = shop.ask(Service::Gateway, "GET", "/products");
    assert_eq!((status, body.contains("\"fallback\"")), (200, true), "{body}");
}

#[test]
fn hung_payments_take_the_order_page_down_and_charge_customers_again() {
    let shop = shop();
    shop.signal(Service::Payments, Signal::STOP);
    let gateway = shop.shop.address(Service::Gateway);
    let customers: Vec<_> = (0..40).map(|_| std::thread::spawn(move || ask(gateway, "POST", "/checkout").map(|(s, _)| s))).collect();
    eventually("the order page is down", || shop.ask(Service::Gateway, "GET", "/orders/latest").0 == 503);
    assert_eq!(shop.ask(Service::Orders, "GET", "/healthz").0, 200, "and the health check says nothing of it");
    for customer in customers {
        assert_eq!(customer.join().expect("a customer").expect("an answer"), 503);
    }
    shop.signal(Service::Payments, Signal::CONT);
    eventually("the order page is back", || shop.ask(Service::Gateway, "GET", "/orders/latest").0 == 200);
    eventually("customers are charged again", || !shop.ask(Service::Ledger, "GET", "/stats").1.contains("\"chargedAgain\":0"));
}

/// Something between two services that lets so many bytes of each answer through, and then hangs up.
fn cutter(upstream: std::net::SocketAddr, bytes: usize) -> std::io::Result<std::net::SocketAddr> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            // The upstream may not be there yet.
            let Ok(mut upstream) = TcpStream::connect(upstream) else { continue };
            std::thread::spawn(move || {
                let (mut from, mut to) = (client.try_clone()?, upstream.try_clone()?);
                std::thread::spawn(move || std::io::copy(&mut from, &mut to));
                std::io::copy(&mut Read::by_ref(&mut upstream).take(bytes as u64), &mut &client)?;
                client.shutdown(std::net::Shutdown::Both)
            });
        }
    });
    Ok(address)
}

#[test]
fn the_catalogue_is_whole_and_one_that_is_cut_is_shown_as_if_it_were() {
    let shop = shop();
    let (status, body) = shop.ask(Service::Gateway, "GET", "/catalogue");
    assert_eq!((status, body.contains("\"count\":200")), (200, true), "{body}");
    let directory = tempfile::tempdir().expect("a directory");
    let program = Path::new(env!("CARGO_BIN_EXE_squall-shop"));
    let through = |edge: Edge| if edge.to == Service::Cache { cutter(edge.address, 5000) } else { Ok(edge.address) };
    let cut = Shop::start_through(program, directory.path(), Ports::Free, through).expect("a shop");
    let (status, body) = ask(cut.address(Service::Gateway), "GET", "/catalogue").expect("an answer");
    assert_eq!(status, 200, "the mistake");
    assert!(!body.contains("\"count\":200") && body.contains("umbrella no. 3"), "{body}");
}

#[test]
fn a_dropped_shop_leaves_no_process() {
    let shop = shop();
    shop.signal(Service::Orders, Signal::STOP);
    let pids: Vec<_> = Service::ALL.iter().filter_map(|s| shop.shop.pid(*s)).collect();
    drop(shop);
    assert_eq!(pids.len(), 5);
    for pid in pids {
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "process {pid} is still there");
    }
}

#[test]
fn a_program_that_is_no_shop_is_told_of() {
    let directory = tempfile::tempdir().expect("a directory");
    let error = Shop::start(Path::new("/bin/true"), directory.path(), Ports::Free).expect_err("no shop");
    assert_eq!(error.to_string(), "gateway did not start: it ended before it listened");
}

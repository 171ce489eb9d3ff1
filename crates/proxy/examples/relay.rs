//! A proxy from one address to another, without faults: `relay 127.0.0.1:8080 127.0.0.1:80`.

use squall_proxy::{Options, Proxies};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let (Some(listen), Some(upstream)) = (words.next(), words.next()) else {
        return Err("expected two addresses, as `relay 127.0.0.1:8080 127.0.0.1:80`".into());
    };
    let proxies = Proxies::start(&Options { events: 0, ..Options::default() })?;
    let _route = proxies.open("relay", &listen, &upstream)?;
    loop {
        std::thread::park();
    }
}

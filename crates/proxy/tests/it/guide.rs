//! What `docs/proxy.md` shows of Rust tests: it is this text, and it runs.

// quoted from here
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

use squall_proxy::{Control, Options};

#[test]
fn the_third_try_is_answered() -> Result<(), Box<dyn std::error::Error>> {
    let payments = service()?;
    let control = Control::start(&Options { seed: 42, ..Options::default() })?;
    let proxy = control.proxy("payments", &payments)?;
    let address = proxy.listen()?;

    proxy.rule("http.abort:status=503;attempts=2")?;
    assert_eq!([get(&address)?, get(&address)?, get(&address)?], ["503", "503", "200"]);
    assert_eq!(proxy.rule_counters("http.abort").injected, 2);

    proxy.remove_rule("http.abort")?;
    proxy.toxic("limit_data:bytes=20;name=cut")?;
    assert_eq!(get(&address)?, "200", "twenty bytes have room for the status");
    proxy.remove_toxic("cut")?;

    proxy.disable()?;
    assert!(TcpStream::connect(&address).is_err(), "nobody listens");
    proxy.enable()?;
    assert_eq!(get(&address)?, "200");
    assert!(proxy.events().len() > 10 && proxy.counters().accepted == 5);
    Ok(())
}

/// The code under test: here it asks once, and gives the status.
fn get(address: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET /charge HTTP/1.1\r\nhost: payments\r\nconnection: close\r\n\r\n")?;
    let mut status = String::new();
    BufReader::new(stream).read_line(&mut status)?;
    Ok(status.split(' ').nth(1).unwrap_or_default().to_owned())
}

/// What it depends on: here a server that answers everything with 200.
fn service() -> std::io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = BufReader::new(&stream).lines().map_while(Result::ok);
            while head.next().is_some_and(|line| !line.is_empty()) {}
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\nconnection: close\r\n\r\ncharged");
        }
    });
    Ok(address)
}
// quoted to here

#[test]
fn the_guide_shows_this_file_as_it_is() {
    let guide = include_str!("../../../../docs/proxy.md");
    let (_, rest) = include_str!("guide.rs").split_once("// quoted from here\n").expect("the beginning");
    let (quoted, _) = rest.split_once("// quoted to here").expect("the end");
    assert!(guide.contains(&format!("```rust\n{quoted}```")), "copy it from crates/proxy/tests/it/guide.rs into docs/proxy.md");
}

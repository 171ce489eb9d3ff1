//! Any bytes as a body of the fault proxy's API, and as a toxic and a rule in one line: an answer, and never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use squall_proxy::api::{proxies_from_json, proxy_from_json};
use squall_proxy::control::{parse_rule, parse_toxic};

fuzz_target!(|bytes: &[u8]| {
    let read = proxies_from_json(bytes);
    // The first value of a list of proxies is what any other reader of JSON makes of it.
    if let Ok(value) = serde_json::from_slice::<serde_json::Value>(bytes) {
        match (&value, read) {
            (serde_json::Value::Array(all), Ok(proxies)) => {
                assert_eq!(all.len(), proxies.len());
                for (value, proxy) in all.iter().zip(&proxies) {
                    assert_eq!(proxy_from_json(value).expect("it was read before"), *proxy);
                }
            }
            (serde_json::Value::Array(_) | serde_json::Value::Null, _) => {}
            (_, read) => assert!(read.is_err(), "only a list is one"),
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = parse_toxic(text);
        let _ = parse_rule(text);
    }
});

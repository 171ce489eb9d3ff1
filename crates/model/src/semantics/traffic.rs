//! Load.

use super::Checker;
use crate::{HttpTraffic, Path, Rate, Traffic};

/// More than one machine sends: a slip.
const FASTEST: Rate = Rate(1_000_000.0);

pub(super) fn check(traffic: &[Traffic], path: &Path, checker: &mut Checker<'_>) {
    checker.names("traffic", traffic.iter().enumerate().map(|(i, traffic)| (traffic.name.as_str(), path.index(i).key("name"))));
    for (i, traffic) in traffic.iter().enumerate() {
        one(traffic, &path.index(i), checker);
    }
}

fn one(traffic: &Traffic, path: &Path, checker: &mut Checker<'_>) {
    match (&traffic.http, traffic.mix.is_empty()) {
        (Some(http), true) => request(http, &path.key("http"), checker),
        (Some(_), false) => {
            checker.at_key(
                &path.key("mix"),
                "traffic is one request or a mix, but here are `http` and `mix`",
                "move the `http` request into `mix`",
            );
        }
        (None, false) => {
            for (i, http) in traffic.mix.iter().enumerate() {
                request(http, &path.key("mix").index(i), checker);
            }
            if traffic.mix.iter().all(|http| http.weight == 0) {
                checker.at(&path.key("mix"), "every weight is 0, so nothing would be sent", "give at least one request a `weight` above 0");
            }
        }
        (None, true) if checker.is_mended(&path.key("http")) || checker.is_mended(&path.key("mix")) => {}
        (None, true) => {
            checker.at(path, "this traffic sends nothing", "add `http: { url: \"http://127.0.0.1:8080/\" }`, or a `mix` of them");
        }
    }
    rate(traffic.rate, &path.key("rate"), checker);
    if let Some(ramp) = traffic.ramp {
        checker.positive(&path.key("ramp").key("over"), Some(ramp.over), "30s");
        if ramp.from.0 > FASTEST.0 {
            rate(ramp.from, &path.key("ramp").key("from"), checker);
        }
    }
    checker.positive(&path.key("timeout"), Some(traffic.timeout), "10s");
    if traffic.max_in_flight == 0 {
        checker.at(
            &path.key("maxInFlight"),
            "`maxInFlight` is 0, so nothing would be sent",
            "write the most requests under way at once, such as `1000`",
        );
    } else if traffic.max_in_flight > 1_000_000 {
        checker.at(&path.key("maxInFlight"), "more than a million requests under way at once", "check the number; each takes a socket");
    }
}

fn rate(rate: Rate, path: &Path, checker: &mut Checker<'_>) {
    if rate.0 <= 0.0 {
        checker.at(path, "a rate of 0 sends nothing", "write how many requests a second, such as `100/s`");
    } else if rate.0 > FASTEST.0 {
        checker.at(path, format!("{rate} is more than a million a second"), "check the number and its unit: `/s`, `/m` or `/h`");
    }
}

fn request(http: &HttpTraffic, path: &Path, checker: &mut Checker<'_>) {
    if let Some(problem) = method_problem(&http.method) {
        checker.at(&path.key("method"), format!("`{}`: {problem}", http.method), "write it in capitals, such as `GET` or `POST`");
    }
    if let Some(problem) = url_problem(&http.url) {
        checker.at(&path.key("url"), format!("`{}`: {problem}", http.url), "write it like `http://127.0.0.1:8080/checkout`");
    }
    for (i, status) in http.success.iter().enumerate() {
        if !(100..=599).contains(status) {
            checker.at(&path.key("success").index(i), format!("{status} is not an HTTP status"), "statuses are from 100 to 599");
        }
    }
    for (name, value) in &http.headers {
        if name.is_empty() || !name.bytes().all(is_token) {
            checker.at_key(
                &path.key("headers").key(name),
                format!("`{name}` cannot be the name of a header"),
                "letters, digits and dashes, as in `content-type`",
            );
        }
        if value.contains(['\n', '\r', '\0']) {
            checker.at(&path.key("headers").key(name), "a header's value has to be one line", "remove the line breaks");
        }
    }
}

/// RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What is wrong with a method. Methods are case-sensitive (RFC 9110, section 9.1), and nobody means `get`.
pub(super) fn method_problem(method: &str) -> Option<String> {
    let good = !method.is_empty() && method.len() <= 32 && method.bytes().all(|b| is_token(b) && !b.is_ascii_lowercase());
    (!good).then(|| "not an HTTP method".into())
}

/// What is wrong with an `http` or `https` URL.
pub(super) fn url_problem(url: &str) -> Option<String> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return Some("a URL starts with `http://` or `https://`".into());
    };
    if !matches!(scheme, "http" | "https") {
        return Some(format!("`{scheme}://` is not supported, only `http://` and `https://`"));
    }
    if url.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Some("a URL has no spaces; write `%20`".into());
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host_and_port = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (host, port) = match host_and_port.strip_prefix('[') {
        Some(inside) => match inside.split_once(']') {
            Some((host, "")) => (host, None),
            Some((host, port)) if port.starts_with(':') => (host, port.strip_prefix(':')),
            _ => return Some("the address in `[ ]` is not closed".into()),
        },
        None => host_and_port.split_once(':').map_or((host_and_port, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() {
        return Some("the URL names no host".into());
    }
    match port {
        Some(port) if !port.parse::<u16>().is_ok_and(|port| port > 0) => {
            Some(format!("`{port}` is not a port, which is a number from 1 to 65535"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_a_scheme_a_host_and_a_good_port() {
        for good in ["http://127.0.0.1:8080/a?b#c", "https://user:pass@example.com", "http://[::1]:80/", "http://[::1]/", "http://a"] {
            assert_eq!(url_problem(good), None, "{good}");
        }
        for bad in [
            "127.0.0.1:80",
            "ftp://a/",
            "http://",
            "http:///path",
            "http://a:0/",
            "http://a:99999/",
            "http://a b/",
            "http://[::1/",
            "http://a:x",
        ] {
            assert!(url_problem(bad).is_some(), "{bad}");
        }
    }
}

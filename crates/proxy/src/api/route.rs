//! Which route a request calls.

use http::Method;

/// A route with what its path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    Reset,
    ProxyIndex,
    ProxyCreate,
    Populate,
    ProxyShow(String),
    ProxyUpdate(String),
    ProxyDelete(String),
    ToxicIndex(String),
    ToxicCreate(String),
    ToxicShow(String, String),
    ToxicUpdate(String, String),
    ToxicDelete(String, String),
    Version,
    Metrics,
    // Squall's own.
    RuleIndex(String),
    RuleCreate(String),
    RuleClear(String),
    RuleShow(String, String),
    RuleDelete(String, String),
    Events,
}

/// What a request calls.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Called {
    Route(Route),
    WrongMethod,
    Nothing,
}

impl Route {
    pub(super) fn find(method: &Method, path: &str, metrics: bool) -> Called {
        let decoded = decode(path);
        // Doubled slashes are what careless clients put between a base address and a path.
        let mut parts = decoded.split('/').filter(|part| !part.is_empty());
        let parts: [Option<&str>; 5] = std::array::from_fn(|_| parts.next());
        if decoded.ends_with('/') {
            return Called::Nothing;
        }
        let method = method.as_str();
        let own = |name: &str| name.to_owned();
        let route = match parts {
            [Some("reset"), None, ..] if method == "POST" => Self::Reset,
            [Some("proxies"), None, ..] if method == "GET" => Self::ProxyIndex,
            [Some("proxies"), None, ..] if method == "POST" => Self::ProxyCreate,
            [Some("populate"), None, ..] if method == "POST" => Self::Populate,
            [Some("version"), None, ..] if method == "GET" => Self::Version,
            [Some("metrics"), None, ..] if metrics => Self::Metrics,
            [Some("events"), None, ..] if method == "GET" => Self::Events,
            [Some("reset" | "proxies" | "populate" | "version" | "events"), None, ..] => return Called::WrongMethod,
            [Some("proxies"), Some(proxy), rest, name, None] => match (rest, name, method) {
                (None, None, "GET") => Self::ProxyShow(own(proxy)),
                (None, None, "POST" | "PATCH") => Self::ProxyUpdate(own(proxy)),
                (None, None, "DELETE") => Self::ProxyDelete(own(proxy)),
                (Some("toxics"), None, "GET") => Self::ToxicIndex(own(proxy)),
                (Some("toxics"), None, "POST") => Self::ToxicCreate(own(proxy)),
                (Some("toxics"), Some(toxic), "GET") => Self::ToxicShow(own(proxy), own(toxic)),
                (Some("toxics"), Some(toxic), "POST" | "PATCH") => Self::ToxicUpdate(own(proxy), own(toxic)),
                (Some("toxics"), Some(toxic), "DELETE") => Self::ToxicDelete(own(proxy), own(toxic)),
                (Some("rules"), None, "GET") => Self::RuleIndex(own(proxy)),
                (Some("rules"), None, "POST") => Self::RuleCreate(own(proxy)),
                (Some("rules"), None, "DELETE") => Self::RuleClear(own(proxy)),
                (Some("rules"), Some(rule), "GET") => Self::RuleShow(own(proxy), own(rule)),
                (Some("rules"), Some(rule), "DELETE") => Self::RuleDelete(own(proxy), own(rule)),
                (None | Some("toxics" | "rules"), ..) => return Called::WrongMethod,
                _ => return Called::Nothing,
            },
            _ => return Called::Nothing,
        };
        Called::Route(route)
    }

    /// As logs call it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Reset => "ResetState",
            Self::ProxyIndex => "ProxyIndex",
            Self::ProxyCreate => "ProxyCreate",
            Self::Populate => "Populate",
            Self::ProxyShow(_) => "ProxyShow",
            Self::ProxyUpdate(_) => "ProxyUpdate",
            Self::ProxyDelete(_) => "ProxyDelete",
            Self::ToxicIndex(_) => "ToxicIndex",
            Self::ToxicCreate(_) => "ToxicCreate",
            Self::ToxicShow(..) => "ToxicShow",
            Self::ToxicUpdate(..) => "ToxicUpdate",
            Self::ToxicDelete(..) => "ToxicDelete",
            Self::Version => "Version",
            Self::Metrics => "Metrics",
            Self::RuleIndex(_) => "RuleIndex",
            Self::RuleCreate(_) => "RuleCreate",
            Self::RuleClear(_) => "RuleClear",
            Self::RuleShow(..) => "RuleShow",
            Self::RuleDelete(..) => "RuleDelete",
            Self::Events => "Events",
        }
    }
}

/// A path without its escapes (RFC 3986, 2.1); an escape that is none stays as it is.
fn decode(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        let byte = escape.and_then(|hex| std::str::from_utf8(hex).ok()).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        decoded.push(byte.unwrap_or(bytes[at]));
        at += if byte.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_route_is_found_by_its_methods_and_no_others() {
        let p = || "p".to_owned();
        let t = || "t".to_owned();
        let table: &[(&str, &[(&str, Route)])] = &[
            ("/reset", &[("POST", Route::Reset)]),
            ("/proxies", &[("GET", Route::ProxyIndex), ("POST", Route::ProxyCreate)]),
            ("/populate", &[("POST", Route::Populate)]),
            ("/version", &[("GET", Route::Version)]),
            ("/events", &[("GET", Route::Events)]),
            (
                "/proxies/p",
                &[
                    ("GET", Route::ProxyShow(p())),
                    ("POST", Route::ProxyUpdate(p())),
                    ("PATCH", Route::ProxyUpdate(p())),
                    ("DELETE", Route::ProxyDelete(p())),
                ],
            ),
            ("/proxies/p/toxics", &[("GET", Route::ToxicIndex(p())), ("POST", Route::ToxicCreate(p()))]),
            (
                "/proxies/p/toxics/t",
                &[
                    ("GET", Route::ToxicShow(p(), t())),
                    ("POST", Route::ToxicUpdate(p(), t())),
                    ("PATCH", Route::ToxicUpdate(p(), t())),
                    ("DELETE", Route::ToxicDelete(p(), t())),
                ],
            ),
            ("/proxies/p/rules", &[("GET", Route::RuleIndex(p())), ("POST", Route::RuleCreate(p())), ("DELETE", Route::RuleClear(p()))]),
            ("/proxies/p/rules/t", &[("GET", Route::RuleShow(p(), t())), ("DELETE", Route::RuleDelete(p(), t()))]),
        ];
        for (path, methods) in table {
            for method in ["GET", "POST", "PATCH", "DELETE", "PUT", "HEAD", "OPTIONS"] {
                let wanted = methods.iter().find(|(m, _)| *m == method).map(|(_, route)| Called::Route(route.clone()));
                let found = Route::find(&method.parse().unwrap(), path, false);
                assert_eq!(found, wanted.unwrap_or(Called::WrongMethod), "{method} {path}");
            }
        }
    }

    #[test]
    fn other_paths_are_nothing_and_escapes_are_undone() {
        let get = |path| Route::find(&Method::GET, path, false);
        for path in ["/", "/proxies/", "/proxies/p/", "/proxies/p/other", "/proxies/p/toxics/t/x", "/proxies/a%2Fb", "/metrics", "/x"] {
            assert_eq!(get(path), Called::Nothing, "{path}");
        }
        assert_eq!(get("/proxies/a%20b%"), Called::Route(Route::ProxyShow("a b%".into())));
        assert_eq!(get("//proxies//p"), Called::Route(Route::ProxyShow("p".into())));
        assert_eq!(Route::find(&Method::HEAD, "/metrics", true), Called::Route(Route::Metrics));
    }
}

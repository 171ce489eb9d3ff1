//! Where a request goes: a URL taken apart once.

use ::http::uri::{Authority, PathAndQuery, Scheme, Uri};

/// A URL taken apart. Cloning shares the texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// With TLS.
    pub(crate) https: bool,
    /// Host without the brackets of an IPv6 address: what is resolved, and the name in the certificate.
    pub(crate) host: String,
    /// As written, or 80 or 443.
    pub(crate) port: u16,
    /// `host` or `host:port` as written: the `Host` header.
    pub(crate) authority: Authority,
    /// `/path?query`.
    pub(crate) path: PathAndQuery,
}

/// Why a URL cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct EndpointError {
    /// What is wrong.
    pub(crate) message: String,
    /// What to write instead.
    pub(crate) hint: String,
}

impl Endpoint {
    /// From an absolute `http://` or `https://` URL.
    pub(crate) fn parse(url: &str) -> Result<Self, EndpointError> {
        let wrong = |message: String, hint: &str| EndpointError { message, hint: hint.to_owned() };
        let uri: Uri = url
            .parse()
            .map_err(|e| wrong(format!("`{url}` is not a URL: {e}"), "write it like `http://127.0.0.1:8080/health`, with spaces as %20"))?;
        Self::from_uri(url, uri)
    }

    fn from_uri(url: &str, uri: Uri) -> Result<Self, EndpointError> {
        let wrong = |message: String, hint: &str| Err(EndpointError { message, hint: hint.to_owned() });
        let parts = uri.into_parts();
        let https = match &parts.scheme {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            _ => return wrong(format!("`{url}` does not start with http:// or https://"), "write it like `http://127.0.0.1:8080/health`"),
        };
        let Some(authority) = parts.authority else {
            return wrong(format!("`{url}` has no host"), "write it like `http://127.0.0.1:8080/health`");
        };
        if authority.as_str().contains('@') {
            return wrong(
                format!("the URL of `{}` carries a user name", authority.host()),
                "send an `Authorization` header with `headers` instead",
            );
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return wrong(format!("`{url}` has no host"), "write it like `http://127.0.0.1:8080/health`");
        }
        let port = match authority.port() {
            None if authority.as_str().ends_with(':') => {
                return wrong(format!("`{url}` has no port after the colon"), "write the port or leave the colon out");
            }
            None => {
                if https {
                    443
                } else {
                    80
                }
            }
            Some(port) => port.as_u16(),
        };
        let path = parts.path_and_query.filter(|p| !p.as_str().is_empty()).unwrap_or_else(|| PathAndQuery::from_static("/"));
        Ok(Self { https, host, port, authority, path })
    }

    /// Where a `Location` leads from here.
    pub(crate) fn join(&self, location: &str) -> Result<Self, EndpointError> {
        let scheme = if self.https { "https" } else { "http" };
        if location.contains("://") {
            Self::parse(location)
        } else if let Some(rest) = location.strip_prefix("//") {
            Self::parse(&format!("{scheme}://{rest}"))
        } else if location.starts_with('/') {
            Self::parse(&format!("{scheme}://{}{location}", self.authority))
        } else {
            let directory = self.path.path().rsplit_once('/').map_or("", |(directory, _)| directory);
            Self::parse(&format!("{scheme}://{}{directory}/{location}", self.authority))
        }
    }

    /// Whether a connection to one serves the other.
    pub(crate) fn same_origin(&self, other: &Self) -> bool {
        self.https == other.https && self.port == other.port && self.host.eq_ignore_ascii_case(&other.host)
    }

    /// `host:port` for messages.
    pub(crate) fn address(&self) -> String {
        if self.host.contains(':') { format!("[{}]:{}", self.host, self.port) } else { format!("{}:{}", self.host, self.port) }
    }

    /// The target of an HTTP/1.1 request (RFC 9112, section 3.2.1).
    pub(crate) fn origin_form(&self) -> Uri {
        Uri::from(self.path.clone())
    }

    /// The target of an HTTP/2 request, from which the pseudo-headers are made (RFC 9113, section 8.3.1).
    pub(crate) fn absolute_form(&self) -> Uri {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(if self.https { Scheme::HTTPS } else { Scheme::HTTP });
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(self.path.clone());
        // All three are there and valid, so this cannot fail; the path alone is the harmless answer if it ever did.
        Uri::from_parts(parts).unwrap_or_else(|_| self.origin_form())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let endpoint = Endpoint::parse("https://[::1]:8443/a?b=c").expect("good");
        assert_eq!((endpoint.https, endpoint.host.as_str(), endpoint.port), (true, "::1", 8443));
        assert_eq!(endpoint.origin_form(), "/a?b=c");
        assert_eq!(endpoint.address(), "[::1]:8443");
        let endpoint = Endpoint::parse("http://example.org").expect("good");
        assert_eq!((endpoint.port, endpoint.path.as_str()), (80, "/"));
    }

    #[test]
    fn what_is_not_a_url_is_said_with_a_hint() {
        for url in ["", "localhost:8080/x", "ftp://a/b", "http://", "/x", "http://u:p@h/", "http://a b/", "http://h:/"] {
            let error = Endpoint::parse(url).expect_err(url);
            assert!(!error.hint.is_empty(), "{url}: {error}");
        }
        assert!(!Endpoint::parse("http://u:secret@h/").expect_err("user").to_string().contains("secret"));
    }

    #[test]
    fn a_location_is_followed_from_where_it_was_given() {
        let from = Endpoint::parse("http://h:81/a/b?c").expect("good");
        for (location, to) in [("/x", "http://h:81/x"), ("x", "http://h:81/a/x"), ("//g/x", "http://g/x"), ("https://g/", "https://g/")] {
            assert_eq!(from.join(location).expect(location), Endpoint::parse(to).expect(to));
        }
    }
}

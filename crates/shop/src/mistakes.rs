//! The mistakes that were left in the shop, with the very lines where they are.

use crate::Service;

/// A mistake in a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mistake {
    /// A short name.
    pub name: &'static str,
    /// Whose.
    pub service: Service,
    /// The source file, from the root of the repository.
    pub file: &'static str,
    /// The line of the code, from 1.
    pub line: usize,
    /// What is wrong, in one sentence.
    pub what: &'static str,
    /// What would put it right, in one sentence.
    pub fix: &'static str,
}

const SOURCES: [(Service, &str, &str); 3] = [
    (Service::Gateway, "crates/shop/src/gateway.rs", include_str!("gateway.rs")),
    (Service::Orders, "crates/shop/src/orders.rs", include_str!("orders.rs")),
    (Service::Payments, "crates/shop/src/payments.rs", include_str!("payments.rs")),
];

const WORDS: [(&str, &str, &str); 5] = [
    ("no-timeout", "orders waits for payments for ever", "put a timeout of about 500 ms on this call and answer 503 when it has passed"),
    (
        "one-pool",
        "looking up an order waits for the same 32 workers that wait for payments",
        "give each kind of request its own pool, and refuse at once when it is full",
    ),
    ("retry-storm", "the gateway tries a checkout four times, at once", "try twice at most, with back-off and jitter, and within a budget"),
    (
        "cut-stream",
        "the gateway takes a stream that breaks in the middle for one that has ended",
        "answer with an error when the stream ends with one, and have the sender say how many lines there are",
    ),
    (
        "charged-twice",
        "payments charges an order as often as it is asked to",
        "make the order's number the key of the charge, and charge a key once",
    ),
];

/// The mistakes, each with its line.
pub fn mistakes() -> Vec<Mistake> {
    let found = WORDS.iter().filter_map(|&(name, what, fix)| {
        let (service, file, line) = SOURCES.iter().find_map(|&(service, file, text)| Some((service, file, line_of(text, name)?)))?;
        Some(Mistake { name, service, file, line, what, fix })
    });
    found.collect()
}

/// The first line of code after the comment that marks a mistake.
fn line_of(text: &str, name: &str) -> Option<usize> {
    let marker = format!("// MISTAKE {name}:");
    let mut lines = text.lines().enumerate().skip_while(|(_, line)| !line.trim_start().starts_with(&marker));
    lines.find(|(_, line)| !line.trim_start().starts_with("//")).map(|(i, _)| i + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_found_in_the_source_and_explained() {
        let found = mistakes();
        assert_eq!(found.len(), WORDS.len());
        let marked: usize = SOURCES.iter().map(|(_, _, text)| text.matches("// MISTAKE ").count()).sum();
        assert_eq!(marked, WORDS.len(), "each marked line has its words");
        let no_timeout = found.iter().find(|m| m.name == "no-timeout").expect("there");
        let line = SOURCES[1].2.lines().nth(no_timeout.line - 1).expect("there");
        assert!(line.contains("self.payments.call("), "{line}");
    }
}

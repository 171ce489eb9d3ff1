//! Patterns of names: `*.example.com`, `^internal.example.com`.

/// Which names are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    meant: Vec<String>,
    left_out: Vec<String>,
}

/// The longest name, as text (RFC 1035, section 2.3.4).
const LONGEST: usize = 253;

impl Names {
    /// From what the user wrote, which [`Names::check`] has found good.
    pub fn new(patterns: &[String]) -> Self {
        let mut names = Self::default();
        for pattern in patterns {
            match pattern.strip_prefix('^') {
                Some(rest) => names.left_out.push(canonical(rest)),
                None => names.meant.push(canonical(pattern)),
            }
        }
        names
    }

    /// What is wrong with a pattern, and what to write.
    pub fn check(pattern: &str) -> Result<(), (String, &'static str)> {
        let rest = pattern.strip_prefix('^').unwrap_or(pattern);
        let name = rest.strip_suffix('.').unwrap_or(rest);
        let example = "write a name such as `db.example.com`, or a pattern such as `*.example.com`, with `^` before it to leave it out";
        if !name.is_ascii() {
            return Err((
                format!("`{pattern}` is not in ASCII"),
                "write such a name as it is sent: `xn--bcher-kva.example` for `bücher.example`",
            ));
        }
        let wrong = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '*'));
        if let Some(character) = name.chars().find(|c| wrong(*c)) {
            return Err((format!("`{pattern}` has a `{character}`, which is in no name"), example));
        }
        if name.is_empty() || name.len() > LONGEST || name.split('.').any(|label| label.is_empty() || label.len() > 63) {
            return Err((format!("`{pattern}` is not a name"), example));
        }
        Ok(())
    }

    /// Whether a name is meant. In any case of letters, with or without the dot at the end.
    pub fn matches(&self, name: &str) -> bool {
        let name = canonical(name);
        let among = |patterns: &[String]| patterns.iter().any(|pattern| fits(pattern.as_bytes(), name.as_bytes()));
        (self.meant.is_empty() || among(&self.meant)) && !among(&self.left_out)
    }

    /// A name that is meant, for a query that finds out; none if nothing is left.
    pub fn example(&self) -> Option<String> {
        let anything = ["*".to_owned()];
        let meant: &[String] = if self.meant.is_empty() { &anything } else { &self.meant };
        let filled = |pattern: &String, by: &str| if pattern == "*" { format!("{by}.invalid") } else { pattern.replace('*', by) };
        let candidates = meant.iter().flat_map(|pattern| ["squall-probe", "x", "squall-probe-2"].map(|by| filled(pattern, by)));
        candidates.filter(|name| Self::check(name).is_ok()).find(|name| self.matches(name))
    }
}

fn canonical(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// Whether the text fits the pattern, in which `*` stands for any characters, dots and none included. Takes time in the order
/// of the product of both lengths at most.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(byte) if *byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                // The last star takes one more.
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    t = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(patterns: &[&str]) -> Names {
        Names::new(&patterns.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_pattern_fits_in_any_case_and_a_star_takes_dots_too() {
        let wild = names(&["*.Example.com"]);
        assert!(wild.matches("a.example.COM.") && wild.matches("a.b.example.com"));
        assert!(!wild.matches("example.com") && !wild.matches("a.example.com.evil") && !wild.matches("aexample.com"));
        let exact = names(&["db.example.com."]);
        assert!(exact.matches("DB.example.com") && !exact.matches("x.db.example.com") && !exact.matches("db.example.co"));
        assert!(names(&["*"]).matches("") && names(&["redis*"]).matches("redis.cache.svc.cluster.local"));
        assert!(names(&["a*b*c"]).matches("a.b.b.c") && !names(&["a*b*c"]).matches("a.c.b"));
    }

    #[test]
    fn what_is_left_out_is_not_meant_and_alone_it_means_all_others() {
        let some = names(&["*.example.com", "^db.example.com"]);
        assert!(some.matches("web.example.com") && !some.matches("db.example.com") && !some.matches("other.org"));
        let others = names(&["^*.internal"]);
        assert!(others.matches("example.com") && !others.matches("db.internal"));
    }

    #[test]
    fn a_name_for_the_probe_is_one_that_is_meant() {
        for patterns in [&["*.example.com"][..], &["*"], &["^*.internal"], &["*.a", "^squall-probe.a"], &["db"]] {
            let names = names(patterns);
            let example = names.example().expect("a name");
            assert!(names.matches(&example), "{example}");
        }
        assert_eq!(names(&["db", "^db"]).example(), None);
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for bad in ["", ".", "a..b", "a b", "bücher.example", "^", "http://a", &"a".repeat(64), &"a.".repeat(130)] {
            assert!(Names::check(bad).is_err(), "{bad}");
        }
        for good in ["a", "*", "^*.b.", "_sip._tcp.example.com", "xn--bcher-kva.example"] {
            assert_eq!(Names::check(good), Ok(()), "{good}");
        }
    }
}

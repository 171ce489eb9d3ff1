//! Flags as Go's programs take them: `-name value`, `-name=value`, with one dash or two.

use std::collections::BTreeMap;

/// One flag.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// Its name and its other names.
    pub names: &'static [&'static str],
    /// It stands alone: `-upstream`, or `-upstream=false`.
    pub switch: bool,
}

impl Flag {
    /// A flag with a value.
    pub const fn value(names: &'static [&'static str]) -> Self {
        Self { names, switch: false }
    }

    /// A flag that is there or not.
    pub const fn switch(names: &'static [&'static str]) -> Self {
        Self { names, switch: true }
    }
}

/// What was given.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Given {
    values: BTreeMap<&'static str, Vec<String>>,
    /// What is no flag.
    pub rest: Vec<String>,
}

impl Given {
    /// The last value of a flag, by its first name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).and_then(|values| values.last()).map(String::as_str)
    }

    /// All values of a flag.
    pub fn all(&self, name: &str) -> &[String] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }

    /// Whether a switch was given.
    pub fn is(&self, name: &str) -> bool {
        self.get(name) == Some("true")
    }
}

/// Reads flags. With `anywhere`, also behind what is no flag; else the first such ends them, as at subcommands.
pub fn parse(arguments: &[String], flags: &[Flag], anywhere: bool) -> Result<Given, String> {
    let mut given = Given::default();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let name = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-'));
        let Some(name) = name.filter(|_| argument != "-") else {
            given.rest.push(argument.clone());
            if anywhere {
                continue;
            }
            break;
        };
        if name.is_empty() {
            break;
        }
        let (name, inline) = name.split_once('=').map_or((name, None), |(name, value)| (name, Some(value.to_owned())));
        let flag = flags.iter().find(|flag| flag.names.contains(&name)).ok_or_else(|| format!("flag provided but not defined: -{name}"))?;
        let value = match (flag.switch, inline) {
            (true, None) => "true".to_owned(),
            (true, Some(text)) => match text.as_str() {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => "true".to_owned(),
                "0" | "f" | "F" | "false" | "FALSE" | "False" => "false".to_owned(),
                _ => return Err(format!("invalid boolean value {text:?} for -{name}: parse error")),
            },
            (false, Some(text)) => text,
            (false, None) => arguments.next().cloned().ok_or_else(|| format!("flag needs an argument: -{name}"))?,
        };
        given.values.entry(flag.names[0]).or_default().push(value);
    }
    given.rest.extend(arguments.cloned());
    Ok(given)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: &[Flag] = &[Flag::value(&["listen", "l"]), Flag::switch(&["upstream", "u"]), Flag::value(&["attribute", "a"])];

    fn given(text: &str, anywhere: bool) -> Result<Given, String> {
        parse(&text.split(' ').map(str::to_owned).collect::<Vec<_>>(), FLAGS, anywhere)
    }

    #[test]
    fn one_dash_or_two_with_or_without_a_sign() {
        for text in ["-listen x p", "--listen x p", "-l=x p", "--l=x p"] {
            let given = given(text, false).unwrap();
            assert_eq!((given.get("listen"), given.rest.as_slice()), (Some("x"), ["p".to_owned()].as_slice()), "{text}");
        }
        let given = given("-a k=1 -u --a=m=2 p", false).unwrap();
        assert_eq!(given.all("attribute"), ["k=1", "m=2"]);
        assert!(given.is("upstream"));
    }

    #[test]
    fn what_is_no_flag_ends_them_or_not() {
        assert_eq!(given("p -l x", false).unwrap().rest, ["p", "-l", "x"]);
        assert_eq!(given("p -l x q", true).unwrap().rest, ["p", "q"]);
        assert_eq!(given("p -- -l", true).unwrap().rest, ["p", "-l"]);
    }

    #[test]
    fn errors_are_those_of_go() {
        assert_eq!(given("-x", false).unwrap_err(), "flag provided but not defined: -x");
        assert_eq!(given("-listen", false).unwrap_err(), "flag needs an argument: -listen");
        assert_eq!(given("-u=maybe", false).unwrap_err(), "invalid boolean value \"maybe\" for -u: parse error");
        assert!(!given("-u=false", false).unwrap().is("upstream"));
    }
}

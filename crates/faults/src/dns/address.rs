//! Addresses in arguments, with errors that say how one is written.

use std::fmt;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer};

/// An address as the user writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address<T>(pub T);

/// A kind of address.
pub trait Kind: FromStr {
    /// How one is written, for messages.
    const EXPECTED: &'static str;
    /// Examples, for the schema.
    const EXAMPLES: &'static [&'static str];
}

impl Kind for Ipv4Addr {
    const EXPECTED: &'static str = "an IPv4 address, such as 192.0.2.1";
    const EXAMPLES: &'static [&'static str] = &["192.0.2.1"];
}

impl Kind for Ipv6Addr {
    const EXPECTED: &'static str = "an IPv6 address, such as 2001:db8::1";
    const EXAMPLES: &'static [&'static str] = &["2001:db8::1"];
}

impl Kind for IpAddr {
    const EXPECTED: &'static str = "an address, such as 10.0.0.53 or fd00::53";
    const EXAMPLES: &'static [&'static str] = &["10.0.0.53", "fd00::53"];
}

impl<'de, T: Kind> Deserialize<'de> for Address<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<T>(PhantomData<T>);
        impl<T: Kind> de::Visitor<'_> for Visitor<T> {
            type Value = Address<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::EXPECTED)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Address<T>, E> {
                text.parse().map(Address).map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Visitor(PhantomData))
    }
}

impl<T: Kind> JsonSchema for Address<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Address".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": T::EXPECTED, "examples": T::EXAMPLES })
    }
}

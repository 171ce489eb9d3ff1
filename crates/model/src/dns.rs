//! What the answers of name servers are called.

/// A response code as `dig` writes it (RFC 6895, section 2.3): `NXDOMAIN`, or `RCODE23` for one without a name.
pub fn dns_code_name(code: u16) -> String {
    const NAMES: [&str; 11] =
        ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET", "NOTAUTH", "NOTZONE"];
    NAMES.get(usize::from(code)).map_or_else(|| format!("RCODE{code}"), |name| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_the_names_that_dig_gives_them() {
        let names: Vec<String> = [0, 2, 3, 5, 10, 11, 4095].into_iter().map(dns_code_name).collect();
        assert_eq!(names, ["NOERROR", "SERVFAIL", "NXDOMAIN", "REFUSED", "NOTZONE", "RCODE11", "RCODE4095"]);
    }
}

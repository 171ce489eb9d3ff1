//! The kinds of fault, probe and target that this binary knows.

use std::sync::Arc;

use squall_engine::Registry;

/// Every kind, from the explicit lists of the crates.
pub fn registry() -> Arc<Registry> {
    let faults = [squall_faults::all(), squall_proxy::experiment::all()].concat();
    let targets = [squall_faults::targets(), squall_proxy::experiment::targets()].concat();
    Arc::new(Registry { faults, probes: squall_probes::all(), targets })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use squall_engine::{Feature, HostFacts, Target};
    use squall_testkit::planned;

    use super::*;

    /// A host with all that any fault needs, but for one feature.
    fn host_without(lacking: &str, found: Option<Feature>) -> HostFacts {
        let needed = registry().faults.iter().flat_map(|fault| fault.meta().needs.iter().copied()).collect::<Vec<_>>();
        let there = |name: &str| (name.to_owned(), Feature { available: true, detail: name.to_owned(), hint: None });
        let mut host = HostFacts { features: needed.into_iter().map(there).collect(), ..squall_sys::facts() };
        host.features.remove(lacking);
        host.features.extend(found.map(|feature| (lacking.to_owned(), feature)));
        host
    }

    #[test]
    fn every_fault_is_refused_where_the_host_lacks_what_it_needs() {
        let registry = registry();
        let target = Target { kind: "host".into(), id: "x".into(), label: "x".into(), facts: json!({}) };
        let pairs = registry.faults.iter().flat_map(|fault| fault.meta().needs.iter().map(move |need| (fault, *need)));
        let mut refused = 0;
        for (fault, need) in pairs {
            let name = fault.name();
            let missing = Feature { available: false, detail: "there is none".into(), hint: Some("get one".into()) };
            let error = planned(fault.as_ref(), &json!({}), &target, &host_without(need, Some(missing))).expect_err(name);
            assert_eq!(error.message, format!("{name} needs {need} of the host: there is none"));
            assert_eq!(error.hint.as_deref(), Some("get one"), "{name}");
            let error = planned(fault.as_ref(), &json!({}), &target, &host_without(need, None)).expect_err(name);
            assert!(error.message.contains(need) && error.hint.is_some_and(|hint| hint.contains("squall doctor")), "{name}");
            refused += 1;
        }
        assert!(refused > 20, "{refused} pairs of a fault and a need");
    }
}

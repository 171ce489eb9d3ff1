//! What the faults on interfaces have in common: where they are, which is meant, and whether Squall is reached over it.

use squall_engine::{HostFacts, PlanError, Target};
use squall_model::did_you_mean;
use squall_sys::link::{self, Interface};
use squall_sys::netns::Namespace;

use super::own_line;
use super::owner::{Owner, place};

/// The network namespace of a target that has one to itself: what is done here, all that are in it feel.
pub(super) fn namespace(target: &Target, host: &HostFacts) -> Result<Namespace, PlanError> {
    let place = place(target, host)?;
    if place.owner != Owner::Everything {
        return Err(PlanError {
            message: format!("{} shares its network with others, who would feel it too", target.label),
            hint: Some("write `target: { host: {} }` if that is meant, or choose packets with network.partition".into()),
        });
    }
    Ok(place.namespace)
}

/// Looks at the interfaces of a namespace.
pub(super) fn all(namespace: &Namespace) -> Result<Vec<Interface>, PlanError> {
    namespace.within(link::interfaces).map_err(|error| PlanError {
        message: format!("the interfaces of {} cannot be listed: {error}", namespace.path.display()),
        hint: (error.kind() == std::io::ErrorKind::PermissionDenied).then(|| "run it with sudo".to_owned()),
    })
}

/// The one with that name.
pub(super) fn named<'a>(interfaces: &'a [Interface], name: &str) -> Result<&'a Interface, PlanError> {
    let names = || interfaces.iter().map(|interface| interface.name.as_str());
    interfaces.iter().find(|interface| interface.name == name).ok_or_else(|| PlanError {
        message: format!("there is no interface `{name}`"),
        hint: Some(match did_you_mean(name, names()) {
            Some(meant) => format!("did you mean `{meant}`? There are {}", names().collect::<Vec<_>>().join(", ")),
            None => format!("there are {}", names().collect::<Vec<_>>().join(", ")),
        }),
    })
}

/// Refuses what would cut a line that Squall is reached by.
pub(super) fn check_own_line<'a>(namespace: &Namespace, names: impl Iterator<Item = &'a str>) -> Result<(), PlanError> {
    let found = namespace.within(|| {
        let lines = own_line::connections()?;
        let over = own_line::interfaces(&lines)?;
        Ok((lines, over))
    });
    let (lines, over) = found.map_err(|error| PlanError {
        message: format!("the connections that Squall is reached by cannot be listed: {error}"),
        hint: Some("`includeOwnLine: true` takes the risk of cutting them".into()),
    })?;
    let Some(name) = names.into_iter().find(|name| over.iter().any(|own| own == name)) else { return Ok(()) };
    let labels: Vec<String> = lines.iter().map(own_line::Line::label).take(3).collect();
    Err(PlanError {
        message: format!("Squall, or whoever runs it, is reached over {name} ({})", labels.join("; ")),
        hint: Some("name another interface, or write `includeOwnLine: true`: the fault ends by itself at the end of `for`".into()),
    })
}

/// Wherever the interface of an undo is now: `None` if it or its namespace is gone.
pub(super) fn still_there(namespace: &Namespace, index: u32, name: &str) -> std::io::Result<Option<(Namespace, Interface)>> {
    let Some(namespace) = namespace.found() else { return Ok(None) };
    let all = namespace.within(link::interfaces)?;
    Ok(all.into_iter().find(|interface| interface.index == index && interface.name == name).map(|interface| (namespace, interface)))
}

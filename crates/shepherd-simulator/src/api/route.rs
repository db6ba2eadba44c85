//! From a path to what it addresses.

use crate::resources::{INSTANCES, NAMESPACES, Registry, ResourceDef, VIRTUAL_MACHINES};
use crate::status::ApiError;

/// Where faults are switched over HTTP.
pub(crate) const CONTROL_PATH: &str = "/simulator/faults";

/// KubeVirt's group of actions on machines.
pub(crate) const POWER_GROUP: &str = "subresources.kubevirt.io";

/// A resource, or one object of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// Which resource.
    pub def: &'static ResourceDef,
    /// The namespace of the path.
    pub namespace: Option<String>,
    /// The object's name, unless the whole collection is meant.
    pub name: Option<String>,
    /// Whether the `status` subresource is meant.
    pub status: bool,
}

impl Target {
    /// The namespace, empty when there is none.
    pub fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or_default()
    }

    /// The name, empty when there is none.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }
}

/// What an action does to a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PowerVerb {
    /// Start a machine.
    Start,
    /// Stop a machine.
    Stop,
    /// Replace a machine's instance.
    Restart,
    /// Halt an instance's processors.
    Pause,
    /// Let them go on.
    Unpause,
}

impl PowerVerb {
    /// Every action, with the resource it belongs to.
    pub const ALL: [(&'static ResourceDef, Self); 5] = [
        (&VIRTUAL_MACHINES, Self::Start),
        (&VIRTUAL_MACHINES, Self::Stop),
        (&VIRTUAL_MACHINES, Self::Restart),
        (&INSTANCES, Self::Pause),
        (&INSTANCES, Self::Unpause),
    ];

    /// The last step of the path.
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Pause => "pause",
            Self::Unpause => "unpause",
        }
    }
}

/// An action on one machine or instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Action {
    /// The machine or instance.
    pub target: Target,
    /// What to do.
    pub verb: PowerVerb,
}

/// What a console shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConsoleKind {
    /// The screen.
    Vnc,
    /// The serial line.
    Serial,
}

impl ConsoleKind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Vnc, Self::Serial];

    /// The last step of the path.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vnc => "vnc",
            Self::Serial => "console",
        }
    }
}

/// A console of one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Console {
    /// The instance.
    pub target: Target,
    /// Which of its consoles.
    pub kind: ConsoleKind,
}

/// Everything a path can mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// `/version`
    Version,
    /// `/healthz`, `/livez`, `/readyz`
    Health,
    /// `/api`
    CoreVersions,
    /// `/apis`
    Groups,
    /// `/apis/GROUP`
    Group(String),
    /// `/api/v1`, `/apis/GROUP/VERSION`
    Resources {
        /// Empty for the core group.
        group: String,
        /// The version.
        version: String,
    },
    /// A resource or an object.
    Resource(Target),
    /// A subresource of `subresources.kubevirt.io`.
    Power(Action),
    /// A byte stream of `subresources.kubevirt.io`.
    Console(Console),
    /// The simulator's own fault switches.
    Control,
}

/// Parses a path.
pub(crate) fn parse(path: &str, registry: &Registry) -> Result<Route, ApiError> {
    if path == CONTROL_PATH {
        return Ok(Route::Control);
    }
    let steps: Vec<&str> = path.split('/').filter(|step| !step.is_empty()).collect();
    match steps.as_slice() {
        ["version"] => Ok(Route::Version),
        ["healthz" | "livez" | "readyz", ..] => Ok(Route::Health),
        ["api"] => Ok(Route::CoreVersions),
        ["apis"] => Ok(Route::Groups),
        ["apis", group] => Ok(Route::Group((*group).to_owned())),
        ["api", version] => Ok(Route::Resources {
            group: String::new(),
            version: (*version).to_owned(),
        }),
        ["apis", group, version] => Ok(Route::Resources {
            group: (*group).to_owned(),
            version: (*version).to_owned(),
        }),
        ["apis", POWER_GROUP, "v1", "namespaces", namespace, plural, name, action] => {
            subresource(namespace, plural, name, action)
        }
        ["api", version, rest @ ..] => resource(registry, "", version, rest),
        ["apis", group, version, rest @ ..] => resource(registry, group, version, rest),
        _ => Err(ApiError::no_such_path()),
    }
}

fn subresource(namespace: &str, plural: &str, name: &str, action: &str) -> Result<Route, ApiError> {
    let target = |def| Target {
        def,
        namespace: Some(namespace.to_owned()),
        name: Some(name.to_owned()),
        status: false,
    };
    let console = ConsoleKind::ALL.into_iter().find(|kind| kind.name() == action);
    if let Some(kind) = console.filter(|_| plural == INSTANCES.plural) {
        let target = target(&INSTANCES);
        return Ok(Route::Console(Console { target, kind }));
    }
    let (def, verb) = PowerVerb::ALL
        .into_iter()
        .find(|(def, verb)| def.plural == plural && verb.name() == action)
        .ok_or_else(ApiError::no_such_path)?;
    let target = target(def);
    Ok(Route::Power(Action { target, verb }))
}

fn resource(registry: &Registry, group: &str, version: &str, rest: &[&str]) -> Result<Route, ApiError> {
    let find = |plural: &str| registry.find(group, version, plural).ok_or_else(ApiError::no_such_path);
    let target = |def: &'static ResourceDef, namespace: Option<&str>, name: Option<&str>, status: bool| {
        let fits = def.namespaced == namespace.is_some() || (def.namespaced && name.is_none());
        if !fits || (status && !def.status) {
            return Err(ApiError::no_such_path());
        }
        let (namespace, name) = (namespace.map(str::to_owned), name.map(str::to_owned));
        Ok(Route::Resource(Target {
            def,
            namespace,
            name,
            status,
        }))
    };
    match rest {
        // Namespaces look like the prefix of everything inside them.
        ["namespaces", name, "status"] if group.is_empty() => target(&NAMESPACES, None, Some(*name), true),
        ["namespaces", namespace, plural] => target(find(plural)?, Some(*namespace), None, false),
        ["namespaces", namespace, plural, name] => target(find(plural)?, Some(*namespace), Some(*name), false),
        ["namespaces", namespace, plural, name, "status"] => target(find(plural)?, Some(*namespace), Some(*name), true),
        [plural] => target(find(plural)?, None, None, false),
        [plural, name] => target(find(plural)?, None, Some(*name), false),
        [plural, name, "status"] => target(find(plural)?, None, Some(*name), true),
        _ => Err(ApiError::no_such_path()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ClusterSeed;

    type Found = Option<(&'static str, String, String, bool)>;

    fn target(path: &str) -> Found {
        let registry = Registry::of(&ClusterSeed::default());
        match parse(path, &registry) {
            Ok(Route::Resource(target)) => Some((
                target.def.plural,
                target.namespace().to_owned(),
                target.name().to_owned(),
                target.status,
            )),
            _ => None,
        }
    }

    fn found(plural: &'static str, namespace: &str, name: &str, status: bool) -> Found {
        Some((plural, namespace.to_owned(), name.to_owned(), status))
    }

    #[test]
    fn resources_and_objects() {
        assert_eq!(target("/api/v1/namespaces"), found("namespaces", "", "", false));
        assert_eq!(target("/api/v1/namespaces/a"), found("namespaces", "", "a", false));
        assert_eq!(
            target("/api/v1/namespaces/a/secrets/s"),
            found("secrets", "a", "s", false)
        );
        let machines = "/apis/kubevirt.io/v1";
        assert_eq!(
            target(&format!("{machines}/virtualmachines")),
            found("virtualmachines", "", "", false)
        );
        assert_eq!(
            target(&format!("{machines}/namespaces/a/virtualmachines/web/status")),
            found("virtualmachines", "a", "web", true)
        );
        for nowhere in [
            "/api/v1/secrets/s",
            "/apis/kubevirt.io/v2/virtualmachines",
            "/api/v1/namespaces/a/nodes",
            "/x",
        ] {
            assert_eq!(target(nowhere), None, "{nowhere}");
        }
    }

    #[test]
    fn absent_features_are_not_routed() {
        let registry = Registry::of(&ClusterSeed {
            snapshot: false,
            ..ClusterSeed::default()
        });
        assert!(parse("/apis/snapshot.kubevirt.io/v1beta1/virtualmachinesnapshots", &registry).is_err());
    }
}

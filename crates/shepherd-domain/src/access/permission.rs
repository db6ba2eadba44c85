//! The permission catalogue and its implications.

use serde::{Deserialize, Serialize};
use strum::{EnumIter, EnumString, IntoEnumIterator, IntoStaticStr};

macro_rules! permissions {
    ($($variant:ident = $key:literal: $description:literal),+ $(,)?) => {
        /// A permission key of the catalogue. Wildcards do not exist.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EnumString, EnumIter, IntoStaticStr, Serialize, Deserialize)]
        #[expect(missing_docs, reason = "the keys are the specification's and say it all")]
        pub enum Permission {
            $(#[serde(rename = $key)] #[strum(serialize = $key)] $variant),+
        }

        impl Permission {
            /// What the key lets somebody do, for people who put roles together.
            pub fn description(self) -> &'static str {
                match self {
                    $(Self::$variant => $description),+
                }
            }
        }
    };
}

permissions! {
    SystemRead = "system:read": "See Systems and their members",
    SystemWrite = "system:write": "Create Systems and change their texts",
    SystemDelete = "system:delete": "Delete empty Systems",
    ServiceRead = "service:read": "See Services",
    ServiceCreate = "service:create": "Create Services and change their texts",
    ServiceDelete = "service:delete": "Delete empty Services",
    VmRead = "vm:read": "See virtual machines",
    VmCreate = "vm:create": "Request virtual machines",
    VmModify = "vm:modify": "Request changes of virtual machines",
    VmOperate = "vm:operate": "Start, stop and restart virtual machines",
    VmDelete = "vm:delete": "Request the deletion of virtual machines",
    VmSnapshot = "vm:snapshot": "Take, restore and delete snapshots",
    VmMigrate = "vm:migrate": "Migrate virtual machines between nodes",
    VncAccess = "vnc:access": "Open consoles",
    VncManage = "vnc:manage": "See and revoke console grants of everybody",
    ApprovalView = "approval:view": "See approval tickets",
    ApprovalApprove = "approval:approve": "Approve and reject tickets",
    ApprovalPolicy = "approval:policy": "Manage approval policies",
    ApprovalExternal = "approval:external": "Manage external approval systems",
    ClusterRead = "cluster:read": "See clusters and namespaces",
    ClusterWrite = "cluster:write": "Register and change clusters and namespaces",
    ClusterManage = "cluster:manage": "Delete clusters and rotate their credentials",
    TemplateRead = "template:read": "See templates with their specs",
    TemplateWrite = "template:write": "Create, change and publish templates",
    TemplateManage = "template:manage": "Everything about templates",
    InstanceSizeRead = "instance_size:read": "See instance sizes with their overrides",
    InstanceSizeWrite = "instance_size:write": "Create and change instance sizes",
    UserManage = "user:manage": "Manage users",
    SessionManage = "session:manage": "See and revoke sessions of others",
    RbacRead = "rbac:read": "See roles and bindings",
    RbacManage = "rbac:manage": "Manage roles and bindings, up to what is held",
    AuthProviderRead = "auth_provider:read": "See identity providers",
    AuthProviderConfigure = "auth_provider:configure": "Create and test identity providers",
    AuthProviderUpdate = "auth_provider:update": "Change identity providers",
    AuthProviderDelete = "auth_provider:delete": "Delete identity providers",
    AuthProviderManage = "auth_provider:manage": "Everything about identity providers",
    AuthProviderSync = "auth_provider:sync": "Read the groups of identity providers",
    AuthProviderMappingCreate = "auth_provider:mapping_create": "Map groups to roles",
    AuthProviderMappingUpdate = "auth_provider:mapping_update": "Change group mappings",
    AuthProviderMappingDelete = "auth_provider:mapping_delete": "Delete group mappings",
    RateLimitManage = "rate_limit:manage": "Manage exemptions and overrides of limits",
    AuditRead = "audit:read": "Read the audit log",
    AuditExport = "audit:export": "Export the audit log",
    AuditManage = "audit:manage": "Manage webhooks and legal holds of the audit log",
    JobManage = "job:manage": "Retry and drop dead letters",
    ReconcilerManage = "reconciler:manage": "Run the reconciler",
    AdoptionManage = "adoption:manage": "Adopt or ignore unknown virtual machines",
    NotificationManage = "notification:manage": "Manage notification channels",
    ConfigRead = "config:read": "See the effective configuration",
    PlatformAdmin = "platform:admin": "Everything, everywhere",
}

impl Permission {
    /// The key.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// What the key implies directly. `platform:admin` implies all.
    pub fn implied(self) -> &'static [Self] {
        match self {
            Self::ClusterManage => &[Self::ClusterWrite],
            Self::ClusterWrite => &[Self::ClusterRead],
            Self::TemplateManage => &[Self::TemplateWrite],
            Self::TemplateWrite => &[Self::TemplateRead],
            Self::InstanceSizeWrite => &[Self::InstanceSizeRead],
            Self::RbacManage => &[Self::RbacRead],
            Self::AuthProviderManage => &[
                Self::AuthProviderConfigure,
                Self::AuthProviderUpdate,
                Self::AuthProviderDelete,
                Self::AuthProviderSync,
                Self::AuthProviderMappingCreate,
                Self::AuthProviderMappingUpdate,
                Self::AuthProviderMappingDelete,
                Self::AuthProviderRead,
            ],
            Self::AuthProviderConfigure
            | Self::AuthProviderUpdate
            | Self::AuthProviderDelete
            | Self::AuthProviderSync
            | Self::AuthProviderMappingCreate
            | Self::AuthProviderMappingUpdate
            | Self::AuthProviderMappingDelete => &[Self::AuthProviderRead],
            Self::ApprovalApprove | Self::ApprovalPolicy => &[Self::ApprovalView],
            Self::AuditExport | Self::AuditManage => &[Self::AuditRead],
            Self::SystemRead
            | Self::SystemWrite
            | Self::SystemDelete
            | Self::ServiceRead
            | Self::ServiceCreate
            | Self::ServiceDelete
            | Self::VmRead
            | Self::VmCreate
            | Self::VmModify
            | Self::VmOperate
            | Self::VmDelete
            | Self::VmSnapshot
            | Self::VmMigrate
            | Self::VncAccess
            | Self::VncManage
            | Self::ApprovalView
            | Self::ApprovalExternal
            | Self::ClusterRead
            | Self::TemplateRead
            | Self::InstanceSizeRead
            | Self::UserManage
            | Self::SessionManage
            | Self::RbacRead
            | Self::AuthProviderRead
            | Self::RateLimitManage
            | Self::AuditRead
            | Self::JobManage
            | Self::ReconcilerManage
            | Self::AdoptionManage
            | Self::NotificationManage
            | Self::ConfigRead
            | Self::PlatformAdmin => &[],
        }
    }

    const fn bit(self) -> u64 {
        1 << self as u32
    }
}

/// A set of permissions, closed under implication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct PermissionSet(u64);

impl PermissionSet {
    /// Nothing.
    pub const EMPTY: Self = Self(0);

    /// Whether the permission is in the set, given directly or implied.
    pub fn contains(self, permission: Permission) -> bool {
        self.0 & (permission.bit() | Permission::PlatformAdmin.bit()) != 0
    }

    /// Whether every member of `other` is in the set.
    pub fn covers(self, other: Self) -> bool {
        other.iter().all(|permission| self.contains(permission))
    }

    /// Both sets together.
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether it holds only `*:read` keys (implied ones included).
    pub fn is_read_only(self) -> bool {
        self.iter().all(|permission| permission.as_str().ends_with(":read"))
    }

    /// The members, in catalogue order; for `platform:admin` that is every key.
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::iter().filter(move |permission| self.contains(*permission))
    }

    fn insert(&mut self, permission: Permission) {
        if self.0 & permission.bit() == 0 {
            self.0 |= permission.bit();
            permission.implied().iter().for_each(|implied| self.insert(*implied));
        }
    }
}

impl FromIterator<Permission> for PermissionSet {
    fn from_iter<I: IntoIterator<Item = Permission>>(items: I) -> Self {
        let mut set = Self::EMPTY;
        items.into_iter().for_each(|permission| set.insert(permission));
        set
    }
}

//! The permission catalogue and its implications.

use serde::{Deserialize, Serialize};
use strum::{EnumIter, EnumString, IntoEnumIterator, IntoStaticStr};

macro_rules! permissions {
    ($($variant:ident = $key:literal),+ $(,)?) => {
        /// A permission key of the catalogue. Wildcards do not exist.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EnumString, EnumIter, IntoStaticStr, Serialize, Deserialize)]
        #[expect(missing_docs, reason = "the keys are the specification's and say it all")]
        pub enum Permission {
            $(#[serde(rename = $key)] #[strum(serialize = $key)] $variant),+
        }
    };
}

permissions! {
    SystemRead = "system:read",
    SystemWrite = "system:write",
    SystemDelete = "system:delete",
    ServiceRead = "service:read",
    ServiceCreate = "service:create",
    ServiceDelete = "service:delete",
    VmRead = "vm:read",
    VmCreate = "vm:create",
    VmModify = "vm:modify",
    VmOperate = "vm:operate",
    VmDelete = "vm:delete",
    VmSnapshot = "vm:snapshot",
    VmMigrate = "vm:migrate",
    VncAccess = "vnc:access",
    VncManage = "vnc:manage",
    ApprovalView = "approval:view",
    ApprovalApprove = "approval:approve",
    ApprovalPolicy = "approval:policy",
    ApprovalExternal = "approval:external",
    ClusterRead = "cluster:read",
    ClusterWrite = "cluster:write",
    ClusterManage = "cluster:manage",
    TemplateRead = "template:read",
    TemplateWrite = "template:write",
    TemplateManage = "template:manage",
    InstanceSizeRead = "instance_size:read",
    InstanceSizeWrite = "instance_size:write",
    UserManage = "user:manage",
    SessionManage = "session:manage",
    RbacRead = "rbac:read",
    RbacManage = "rbac:manage",
    AuthProviderRead = "auth_provider:read",
    AuthProviderConfigure = "auth_provider:configure",
    AuthProviderUpdate = "auth_provider:update",
    AuthProviderDelete = "auth_provider:delete",
    AuthProviderManage = "auth_provider:manage",
    AuthProviderSync = "auth_provider:sync",
    AuthProviderMappingCreate = "auth_provider:mapping_create",
    AuthProviderMappingUpdate = "auth_provider:mapping_update",
    AuthProviderMappingDelete = "auth_provider:mapping_delete",
    RateLimitManage = "rate_limit:manage",
    AuditRead = "audit:read",
    AuditExport = "audit:export",
    AuditManage = "audit:manage",
    JobManage = "job:manage",
    ReconcilerManage = "reconciler:manage",
    AdoptionManage = "adoption:manage",
    NotificationManage = "notification:manage",
    ConfigRead = "config:read",
    PlatformAdmin = "platform:admin",
}

impl Permission {
    /// The key.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// What the key implies directly. `platform:admin` implies all.
    fn implied(self) -> &'static [Self] {
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

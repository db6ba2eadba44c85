//! Who asks, and from where: what every command carries.

use std::net::IpAddr;

use shepherd_domain::access::Subject;
use shepherd_domain::ids::SessionId;
use shepherd_domain::{ActorId, Problem};

/// The caller of a command and the marks its audit rows get.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// Who acts.
    pub actor: ActorId,
    /// Display name or user name at the time of the request.
    pub actor_name: Option<String>,
    /// Request id, at most 64 characters of `[A-Za-z0-9._-]`.
    pub request_id: Option<String>,
    /// Address of the client.
    pub ip: Option<IpAddr>,
    /// User agent, at most 512 characters.
    pub user_agent: Option<String>,
}

impl RequestContext {
    /// A component of the platform acting by itself.
    pub fn system(component: &str) -> Self {
        Self {
            actor: ActorId::system(component),
            actor_name: None,
            request_id: None,
            ip: None,
            user_agent: None,
        }
    }
}

/// An authenticated caller.
#[derive(Clone, Debug)]
pub struct Caller {
    /// What the caller may do, as of now.
    pub subject: std::sync::Arc<Subject>,
    /// The session of the request.
    pub session: SessionId,
    /// User name.
    pub username: String,
    /// Whether the caller must change the password before anything else.
    pub force_password_change: bool,
    /// Marks for audit rows.
    pub context: RequestContext,
}

impl Caller {
    /// 403 unless the caller holds the permission anywhere: the check before any object is looked at.
    ///
    /// # Errors
    /// FORBIDDEN{required_permission}.
    pub fn require(&self, permission: shepherd_domain::access::Permission) -> Result<(), Problem> {
        if self.subject.holds_anywhere(permission) {
            Ok(())
        } else {
            Err(Problem::new(shepherd_domain::ErrorCode::Forbidden).with("required_permission", permission.as_str()))
        }
    }
}

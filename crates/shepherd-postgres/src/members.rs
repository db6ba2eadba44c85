//! Members of Systems, and the last owner.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use shepherd_domain::ActorId;
use shepherd_domain::access::ResourceRole;
use shepherd_domain::ids::{MembershipId, SystemId, UserId};
use shepherd_ports::RepositoryError;
use shepherd_ports::members::{EndedMembership, MemberQueries, MemberRecord, MemberRepository, NewMember};

use crate::statement::{execute, fetch_one, select_all, select_one, values};
use crate::store::PgStore;
use crate::unit_of_work::PgUnitOfWork;

/// The unexpired members of the System `$1` at the time `$2`.
macro_rules! member_rows {
    () => {
        "SELECT m.id, m.user_id, u.username, u.email, u.display_name, m.role, m.expires_at, m.row_version, \
         m.created_at FROM resource_role_bindings m JOIN users u ON u.id = m.user_id \
         WHERE m.resource_type = 'system' AND m.resource_id = $1 AND (m.expires_at IS NULL OR m.expires_at > $2)"
    };
}

const ONE_MEMBER: &str = concat!(member_rows!(), " AND m.user_id = $3");

const MEMBERS: &str = concat!(
    member_rows!(),
    " ORDER BY m.role <> 'owner', lower(u.username) LIMIT 1000"
);

/// Waits for who deletes the user, and for nobody who only logs in.
const KEEP_USER: &str = "SELECT to_jsonb(username) AS doc FROM users WHERE id = $1 FOR KEY SHARE";

/// Excludes itself and the lock of a deletion, but not the foreign keys of new Services.
const LOCK_SYSTEM: &str = "SELECT to_jsonb(id) AS doc FROM systems WHERE id = $1 FOR NO KEY UPDATE";

const INSERT: &str = "INSERT INTO resource_role_bindings \
         (id, user_id, resource_type, resource_id, role, expires_at, granted_by) \
     VALUES ($1, $2, 'system', $3, $4, $5, $6)";

const CHANGE_ROLE: &str = "UPDATE resource_role_bindings \
     SET role = $2, expires_at = CASE WHEN $2 = 'owner' THEN NULL ELSE expires_at END, granted_by = $3 \
     WHERE id = $1 AND resource_type = 'system'";

const REMOVE: &str = "DELETE FROM resource_role_bindings WHERE id = $1 AND resource_type = 'system'";

const OWNER_REMAINS: &str = "SELECT to_jsonb(EXISTS (SELECT FROM resource_role_bindings m \
     WHERE m.resource_type = 'system' AND m.resource_id = $1 AND m.role = 'owner')) AS doc";

/// Everybody who locks several Systems does it in this order, so that nobody waits in a circle.
const LOCK_OWNED: &str = "SELECT s.id FROM systems s \
     WHERE s.id IN (SELECT m.resource_id FROM resource_role_bindings m \
         WHERE m.user_id = $1 AND m.resource_type = 'system' AND m.role = 'owner') \
     ORDER BY s.id FOR NO KEY UPDATE";

/// The Systems that the user `$1` owns and no other owner of whom the condition holds.
macro_rules! owned_alone {
    ($other:literal) => {
        concat!(
            "SELECT s.id, s.name FROM resource_role_bindings m JOIN systems s ON s.id = m.resource_id \
             WHERE m.user_id = $1 AND m.resource_type = 'system' AND m.role = 'owner' \
                 AND NOT EXISTS (SELECT FROM resource_role_bindings o JOIN users u ON u.id = o.user_id \
                     WHERE o.resource_type = 'system' AND o.resource_id = m.resource_id AND o.role = 'owner' \
                         AND o.user_id <> m.user_id AND ",
            $other,
            ")"
        )
    };
}

const SOLE_OWNED: &str = concat!(owned_alone!("true"), " ORDER BY s.id");

const WITHOUT_ENABLED_OWNER: &str = concat!(owned_alone!("u.enabled"), " ORDER BY s.name");

const HAS_ENABLED_OWNER: &str = "SELECT to_jsonb(EXISTS (SELECT FROM resource_role_bindings m \
     JOIN users u ON u.id = m.user_id AND u.enabled \
     WHERE m.resource_type = 'system' AND m.resource_id = $1 AND m.role = 'owner')) AS doc";

/// Users are kept as by everybody who changes memberships: who deletes one holds it and waits for its memberships.
const END_EXPIRED: &str = "WITH due AS ( \
         SELECT m.id, u.username FROM resource_role_bindings m JOIN users u ON u.id = m.user_id \
         WHERE m.resource_type = 'system' AND m.expires_at <= $1 \
         ORDER BY m.expires_at, m.id LIMIT $2 \
         FOR UPDATE OF m SKIP LOCKED FOR KEY SHARE OF u SKIP LOCKED \
     ), ended AS ( \
         DELETE FROM resource_role_bindings m USING due WHERE m.id = due.id \
         RETURNING m.resource_id AS system_id, m.user_id, due.username, m.role, m.expires_at \
     ) \
     SELECT coalesce(jsonb_agg(to_jsonb(ended) ORDER BY ended.expires_at, ended.user_id), '[]') AS doc FROM ended";

const END_EXPIRED_OF: &str = "WITH ended AS ( \
         DELETE FROM resource_role_bindings m USING users u \
         WHERE u.id = m.user_id AND m.resource_type = 'system' AND m.resource_id = $1 AND m.user_id = $2 \
             AND m.expires_at <= $3 \
         RETURNING m.resource_id AS system_id, m.user_id, u.username, m.role, m.expires_at \
     ) \
     SELECT to_jsonb(ended) AS doc FROM ended";

#[derive(Deserialize)]
struct NamedSystem {
    id: SystemId,
    name: String,
}

#[async_trait]
impl MemberRepository for PgUnitOfWork {
    async fn keep_user(&mut self, user: UserId) -> Result<Option<String>, RepositoryError> {
        fetch_one(&self.tx, KEEP_USER, values![user]).await
    }

    async fn lock_system(&mut self, system: SystemId) -> Result<bool, RepositoryError> {
        let locked: Option<SystemId> = fetch_one(&self.tx, LOCK_SYSTEM, values![system]).await?;
        Ok(locked.is_some())
    }

    async fn find(
        &mut self,
        system: SystemId,
        user: UserId,
        now: DateTime<Utc>,
    ) -> Result<Option<MemberRecord>, RepositoryError> {
        select_one(&self.tx, ONE_MEMBER, values![system, now, user]).await
    }

    async fn insert(&mut self, member: &NewMember) -> Result<(), RepositoryError> {
        let NewMember {
            id,
            system_id,
            user_id,
            role,
            expires_at,
            granted_by,
        } = member;
        let values = values![id, user_id, system_id, role, expires_at, granted_by];
        execute(&self.tx, INSERT, values).await.map(drop)
    }

    async fn change_role(
        &mut self,
        id: MembershipId,
        role: ResourceRole,
        by: &ActorId,
    ) -> Result<bool, RepositoryError> {
        Ok(execute(&self.tx, CHANGE_ROLE, values![id, role, by]).await? > 0)
    }

    async fn remove(&mut self, id: MembershipId) -> Result<bool, RepositoryError> {
        Ok(execute(&self.tx, REMOVE, values![id]).await? > 0)
    }

    async fn owner_remains(&mut self, system: SystemId) -> Result<bool, RepositoryError> {
        let remains = fetch_one(&self.tx, OWNER_REMAINS, values![system]).await?;
        Ok(remains.unwrap_or_default())
    }

    async fn lock_sole_owned(&mut self, user: UserId) -> Result<Vec<SystemId>, RepositoryError> {
        execute(&self.tx, LOCK_OWNED, values![user]).await?;
        // A statement of its own: it sees what was committed while the locks were waited for.
        let owned: Vec<NamedSystem> = select_all(&self.tx, SOLE_OWNED, values![user]).await?;
        Ok(owned.into_iter().map(|system| system.id).collect())
    }

    async fn without_enabled_owner(&mut self, user: UserId) -> Result<Vec<(SystemId, String)>, RepositoryError> {
        let owned: Vec<NamedSystem> = select_all(&self.tx, WITHOUT_ENABLED_OWNER, values![user]).await?;
        Ok(owned.into_iter().map(|system| (system.id, system.name)).collect())
    }

    async fn end_expired(&mut self, now: DateTime<Utc>, limit: u32) -> Result<Vec<EndedMembership>, RepositoryError> {
        let ended = fetch_one(&self.tx, END_EXPIRED, values![now, i64::from(limit)]).await?;
        Ok(ended.unwrap_or_default())
    }

    async fn end_expired_of(
        &mut self,
        system: SystemId,
        user: UserId,
        now: DateTime<Utc>,
    ) -> Result<Option<EndedMembership>, RepositoryError> {
        fetch_one(&self.tx, END_EXPIRED_OF, values![system, user, now]).await
    }
}

#[async_trait]
impl MemberQueries for PgStore {
    async fn list_members(&self, system: SystemId, now: DateTime<Utc>) -> Result<Vec<MemberRecord>, RepositoryError> {
        select_all(&self.db, MEMBERS, values![system, now]).await
    }

    async fn get_member(
        &self,
        system: SystemId,
        user: UserId,
        now: DateTime<Utc>,
    ) -> Result<Option<MemberRecord>, RepositoryError> {
        select_one(&self.db, ONE_MEMBER, values![system, now, user]).await
    }

    async fn has_enabled_owner(&self, system: SystemId) -> Result<bool, RepositoryError> {
        let found = fetch_one(&self.db, HAS_ENABLED_OWNER, values![system]).await?;
        Ok(found.unwrap_or_default())
    }
}

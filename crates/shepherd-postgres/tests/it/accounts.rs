//! Accounts and sessions: what is changed, found, ended, and goes with a user.

use chrono::TimeDelta;
use shepherd_domain::access::{Permission, Scope};
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::ids::{SessionId, UserId};
use shepherd_domain::notification::{Audience, NotificationDraft, NotificationType, Severity};
use shepherd_domain::page::PageRequest;
use shepherd_ports::RepositoryError;
use shepherd_ports::identity::{IdentityQueries, NewSession, NewUser};
use shepherd_ports::notifications::NotificationQueries;
use shepherd_ports::sessions::{Ending, Liveness, SessionQueries};
use shepherd_ports::users::{AccountChange, UserQueries};

use crate::TestResult;
use crate::world::{Outcome, World, at, id, insert_binding, insert_role, insert_user, system_actor};

/// Sessions used at this second or later are live; all of them are seen when they are opened.
const SEEN_SINCE: i64 = 0;

fn live_at(seconds: i64) -> Liveness {
    Liveness {
        now: at(seconds),
        seen_since: at(SEEN_SINCE),
    }
}

async fn open_session(world: &World, user: UserId, opened: i64) -> Outcome<SessionId> {
    let session = NewSession {
        id: id(),
        user_id: user,
        issued_at: at(opened),
        expires_at: at(opened) + TimeDelta::hours(24),
        ip: None,
        user_agent: None,
    };
    let mut work = world.begin().await?;
    assert!(work.identity().open_session(&session, 10).await?.is_some());
    work.commit().await?;
    Ok(session.id)
}

#[tokio::test]
async fn an_account_changes_only_while_it_is_what_was_read() -> TestResult {
    let world = World::create().await?;
    let before = world.store.get_account(world.requester).await?.ok_or("no account")?;
    assert_eq!((before.auth_provider.as_deref(), before.enabled), (None, true));
    let change = AccountChange {
        email: Some(None),
        display_name: Some(Some("Rita R.".to_owned())),
        password_hash: Some("another hash".to_owned()),
        force_password_change: Some(false),
        ..AccountChange::default()
    };
    let mut work = world.begin().await?;
    let locked = work.users().lock(world.requester).await?.ok_or("no account")?;
    assert_eq!(locked.row_version, before.row_version);
    assert!(
        work.users()
            .update(world.requester, locked.row_version, &change, at(9))
            .await?
    );
    let again = work
        .users()
        .update(world.requester, locked.row_version, &change, at(9))
        .await?;
    assert!(!again, "the version is an older one by now");
    assert!(!work.users().update(id(), 1, &change, at(9)).await?, "nobody");
    work.commit().await?;

    let after = world.store.get_account(world.requester).await?.ok_or("no account")?;
    assert_eq!(after.row_version, before.row_version + 1);
    assert_eq!((after.email, after.display_name.as_deref()), (None, Some("Rita R.")));
    assert_eq!(after.password_hash.as_deref(), Some("another hash"));
    assert_eq!((after.enabled, after.force_password_change), (true, false));
    Ok(())
}

#[tokio::test]
async fn an_address_that_somebody_has_is_refused_in_any_case() -> TestResult {
    let world = World::create().await?;
    let change = AccountChange {
        email: Some(Some("ARNO@example.ORG".to_owned())),
        ..AccountChange::default()
    };
    let mut work = world.begin().await?;
    let account = work.users().lock(world.requester).await?.ok_or("no account")?;
    let refused = work
        .users()
        .update(account.id, account.row_version, &change, at(9))
        .await;
    assert!(matches!(refused, Err(error) if error.is_unique("uq_users_email")));
    Ok(())
}

#[tokio::test]
async fn a_locked_account_waits_with_new_roles_and_sees_those_that_came_before() -> TestResult {
    let world = World::create().await?;
    let mut work = world.begin().await?;
    work.users().lock(world.approver).await?.ok_or("no account")?;
    let held = work.users().holdings(world.approver, at(0)).await?;
    assert_eq!(held.bindings.len(), 1);
    assert!(held.bindings[0].permissions.contains(Permission::ApprovalApprove));

    let role = id();
    let mut other = world.begin().await?;
    insert_role(other.as_mut(), role, "Reader", &[Permission::VmRead]).await?;
    let binding = insert_binding(
        other.as_mut(),
        world.approver,
        role,
        Scope::Global,
        EnvironmentSet::TEST,
    );
    let meanwhile = tokio::time::timeout(std::time::Duration::from_millis(300), binding).await;
    assert!(meanwhile.is_err(), "a role was given to a locked account");
    Ok(())
}

#[tokio::test]
async fn search_puts_names_that_begin_with_the_text_first_and_takes_no_patterns() -> TestResult {
    let world = World::create().await?;
    let people = [
        ("joanna", None, true),
        ("Anna", None, true),
        ("zoe", Some("Zoe Annabel"), true),
        ("annika", None, true),
        ("anna.gone", None, false),
        ("100%", None, true),
    ];
    let mut work = world.begin().await?;
    for (username, display_name, enabled) in people {
        let user = NewUser {
            id: id(),
            username: username.to_owned(),
            email: Some(format!("annual.{username}@example.org")),
            display_name: display_name.map(str::to_owned),
            password_hash: "hash".to_owned(),
            force_password_change: false,
            enabled,
            created_by: system_actor(),
        };
        work.identity().insert_user(&user).await?;
    }
    for number in 0..12 {
        insert_user(work.as_mut(), id(), &format!("crowd-{number:02}")).await?;
    }
    work.commit().await?;

    let found = async |text: &str| -> Result<Vec<String>, RepositoryError> {
        let found = world.store.search_users(text, 10).await?;
        Ok(found.into_iter().map(|user| user.username).collect())
    };
    assert_eq!(found("ANN").await?, ["Anna", "annika", "joanna", "zoe"]);
    assert_eq!(found("annual").await?, [""; 0], "e-mail addresses are not looked at");
    assert_eq!(found("0%").await?, ["100%"]);
    for pattern in ["%%", "__", "a_n", ".*"] {
        assert_eq!(found(pattern).await?, [""; 0], "{pattern}");
    }
    assert_eq!(found("crowd").await?.len(), 10);
    Ok(())
}

#[tokio::test]
async fn everything_of_a_user_goes_with_the_user() -> TestResult {
    let world = World::create().await?;
    let draft = NotificationDraft::new(
        NotificationType::ApprovalPending,
        Severity::Info,
        "a title",
        "a message",
    );
    let mut work = world.begin().await?;
    let audience = Audience::User(world.requester);
    work.notifications().insert_for(audience, &draft, at(0)).await?;
    insert_binding(
        work.as_mut(),
        world.requester,
        world.approver_role,
        Scope::Global,
        EnvironmentSet::TEST,
    )
    .await?;
    work.commit().await?;
    let keeper = open_session(&world, world.approver, 0).await?;
    let epoch = async || -> Outcome<i64> {
        let state = world.store.session_state(keeper).await?;
        Ok(state.ok_or("no session")?.epoch)
    };
    let before = epoch().await?;

    let mut work = world.begin().await?;
    assert!(work.users().delete(world.requester).await?);
    assert!(!work.users().delete(world.requester).await?, "twice");
    work.commit().await?;
    assert!(world.store.get_account(world.requester).await?.is_none());
    assert!(world.store.session_state(world.session).await?.is_none());
    let held = world.store.holdings(world.requester, at(0)).await?;
    assert_eq!((held.bindings.len(), held.memberships.len()), (0, 0));
    assert_eq!(world.store.unread_count(world.requester).await?, 0);
    assert!(epoch().await? > before, "every replica has to notice");
    Ok(())
}

#[tokio::test]
async fn only_live_sessions_are_shown() -> TestResult {
    let world = World::create().await?;
    let idle = open_session(&world, world.requester, SEEN_SINCE - 1).await?;
    let newest = open_session(&world, world.requester, 60).await?;
    let shown = async |live: Liveness| -> Result<Vec<SessionId>, RepositoryError> {
        let listed = world.store.live_sessions(world.requester, live).await?;
        let request = PageRequest::default();
        let page = world.store.list_sessions(world.requester, live, request).await?;
        let ids: Vec<SessionId> = listed.into_iter().map(|session| session.id).collect();
        assert_eq!(page.total, ids.len() as u64);
        assert_eq!(
            page.items.into_iter().map(|session| session.id).collect::<Vec<_>>(),
            ids
        );
        Ok(ids)
    };
    assert_eq!(shown(live_at(61)).await?, [newest, world.session]);
    let day = 86_400;
    assert_eq!(shown(live_at(day + 1)).await?, [newest], "the other one expired");
    assert!(world.store.get_session(idle, live_at(61)).await?.is_none());
    let found = world
        .store
        .get_session(newest, live_at(61))
        .await?
        .ok_or("no session")?;
    assert_eq!((found.user_id, found.ip.as_str()), (world.requester, ""));
    Ok(())
}

#[tokio::test]
async fn a_session_is_ended_once_and_by_its_owner() -> TestResult {
    let world = World::create().await?;
    let by = system_actor();
    let ending = Ending {
        by: &by,
        reason: "REVOKED",
    };
    let mut work = world.begin().await?;
    let sessions = work.sessions();
    let stranger = sessions.end(world.session, world.approver, live_at(1), ending).await?;
    assert!(!stranger, "it is not the approver's");
    let late = Liveness {
        now: at(1),
        seen_since: at(1),
    };
    assert!(
        !sessions.end(world.session, world.requester, late, ending).await?,
        "idle"
    );
    assert!(sessions.end(world.session, world.requester, live_at(1), ending).await?);
    assert!(
        !sessions.end(world.session, world.requester, live_at(1), ending).await?,
        "twice"
    );
    work.commit().await?;
    let state = world.store.session_state(world.session).await?.ok_or("no session")?;
    assert!(state.revoked);
    Ok(())
}

#[tokio::test]
async fn all_sessions_end_but_the_one_that_is_kept_and_idle_ones_do_not_count() -> TestResult {
    let world = World::create().await?;
    let idle = open_session(&world, world.requester, SEEN_SINCE - 1).await?;
    let kept = open_session(&world, world.requester, 10).await?;
    let others = open_session(&world, world.approver, 10).await?;
    let by = system_actor();
    let ending = Ending {
        by: &by,
        reason: "REVOKED",
    };
    let end_all = async |except| -> Result<u64, RepositoryError> {
        let mut work = world.begin().await?;
        let ended = work
            .sessions()
            .end_all(world.requester, except, live_at(20), ending)
            .await?;
        work.commit().await?;
        Ok(ended)
    };
    let revoked = async |session| -> Outcome<bool> {
        let state = world.store.session_state(session).await?;
        Ok(state.ok_or("no session")?.revoked)
    };
    assert_eq!(end_all(Some(kept)).await?, 1);
    assert!(revoked(idle).await?, "a longer timeout must not revive it");
    assert!(!revoked(kept).await?);
    assert_eq!(end_all(Some(kept)).await?, 0);
    assert_eq!(end_all(None).await?, 1);
    assert!(revoked(kept).await?);
    assert!(!revoked(others).await?, "somebody else's");
    Ok(())
}

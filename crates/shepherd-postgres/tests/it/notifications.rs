//! Audiences: who is told.

use sea_orm::sqlx;
use shepherd_domain::Environment;
use shepherd_domain::access::{Permission, Scope};
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::ids::UserId;
use shepherd_domain::notification::{Audience, NotificationDraft, NotificationType, Severity};
use shepherd_domain::page::PageRequest;
use shepherd_ports::notifications::NotificationQueries;

use crate::TestResult;
use crate::world::{Outcome, World, at, id, insert_binding, insert_role, insert_user};

fn draft() -> NotificationDraft {
    NotificationDraft::new(
        NotificationType::ApprovalPending,
        Severity::Info,
        "a request waits",
        "please decide",
    )
    .about("approval_ticket", "t-1")
    .params(serde_json::json!({"code": "APPROVAL_PENDING"}))
}

async fn send(world: &World, audience: Audience) -> Outcome<u64> {
    let mut work = world.begin().await?;
    let sent = work.notifications().insert_for(audience, &draft(), at(0)).await?;
    work.commit().await?;
    Ok(sent)
}

async fn unread(world: &World, user: UserId) -> Outcome<i64> {
    Ok(world.store.unread_count(user).await?)
}

#[tokio::test]
async fn approvers_are_told_by_environment_and_without_the_requester() -> TestResult {
    let world = World::create().await?;
    let (admin, role) = (id(), id());
    let mut work = world.begin().await?;
    insert_user(work.as_mut(), admin, "Ada").await?;
    insert_role(work.as_mut(), role, "Admin", &[Permission::PlatformAdmin]).await?;
    insert_binding(work.as_mut(), admin, role, Scope::Global, EnvironmentSet::ALL).await?;
    insert_binding(
        work.as_mut(),
        world.requester,
        world.approver_role,
        Scope::System(world.system),
        EnvironmentSet::ALL,
    )
    .await?;
    work.commit().await?;

    let test = Audience::Approvers {
        environment: Environment::Test,
        except: Some(world.requester),
    };
    assert_eq!(send(&world, test).await?, 2, "approver and administrator");
    assert_eq!(unread(&world, world.requester).await?, 0);
    let prod = Audience::Approvers {
        environment: Environment::Prod,
        except: Some(world.requester),
    };
    assert_eq!(send(&world, prod).await?, 1, "the approver decides in test only");
    let everybody = Audience::Approvers {
        environment: Environment::Test,
        except: None,
    };
    assert_eq!(
        send(&world, everybody).await?,
        2,
        "a binding to one System decides no ticket"
    );
    let approver = Audience::Approvers {
        environment: Environment::Test,
        except: Some(world.approver),
    };
    assert_eq!(send(&world, approver).await?, 1);
    assert_eq!(send(&world, Audience::PlatformAdmins).await?, 1);
    assert_eq!(unread(&world, admin).await?, 5);
    Ok(())
}

#[tokio::test]
async fn system_owners_stand_in_for_an_owner_who_is_gone() -> TestResult {
    let world = World::create().await?;
    let present = Audience::VmOwner {
        owner: Some(world.approver),
        system: world.system,
    };
    assert_eq!(send(&world, present).await?, 1);
    assert_eq!(unread(&world, world.requester).await?, 0);
    for gone in [None, Some(id())] {
        assert_eq!(
            send(
                &world,
                Audience::VmOwner {
                    owner: gone,
                    system: world.system
                }
            )
            .await?,
            1
        );
    }
    assert_eq!(unread(&world, world.requester).await?, 2);
    Ok(())
}

#[tokio::test]
async fn notifications_are_read_by_their_own_user_only() -> TestResult {
    let world = World::create().await?;
    send(&world, Audience::User(world.requester)).await?;
    send(&world, Audience::User(world.requester)).await?;
    assert_eq!(send(&world, Audience::User(id())).await?, 0, "nobody of that id");
    let page = world
        .store
        .list_notifications(world.requester, true, PageRequest::default())
        .await?;
    let newest = page.items.first().ok_or("no notification")?;
    assert_eq!(
        (newest.kind.as_str(), newest.resource_id.as_deref()),
        ("APPROVAL_PENDING", Some("t-1"))
    );

    let mut work = world.begin().await?;
    assert!(!work.notifications().mark_read(world.approver, newest.id, at(1)).await?);
    assert!(
        work.notifications()
            .mark_read(world.requester, newest.id, at(1))
            .await?
    );
    work.commit().await?;
    assert_eq!(unread(&world, world.requester).await?, 1);
    let mut work = world.begin().await?;
    work.notifications().mark_all_read(world.requester, at(2)).await?;
    work.commit().await?;
    assert_eq!(unread(&world, world.requester).await?, 0);
    Ok(())
}

#[tokio::test]
async fn several_notifications_find_their_own_recipients_by_one_statement() -> TestResult {
    let world = World::create().await?;
    let titled = |title: &str| NotificationDraft::new(NotificationType::SystemAlert, Severity::Urgent, title, "");
    let approvers = |except| Audience::Approvers {
        environment: Environment::Test,
        except,
    };
    let owners = Audience::VmOwner {
        owner: None,
        system: world.system,
    };
    let messages = [
        (approvers(None), titled("to approvers")),
        (approvers(Some(world.approver)), titled("to other approvers")),
        (Audience::User(world.requester), titled("to the requester")),
        (owners, titled("to owners")),
        (Audience::PlatformAdmins, titled("to administrators")),
    ];
    let mut work = world.begin().await?;
    assert_eq!(work.notifications().insert_many(&messages, at(0)).await?, 3);
    assert_eq!(work.notifications().insert_many(&[], at(0)).await?, 0);
    work.commit().await?;
    let mut received = Vec::new();
    for user in [world.approver, world.requester] {
        let page = world
            .store
            .list_notifications(user, false, PageRequest::default())
            .await?;
        let mut titles: Vec<String> = page.items.into_iter().map(|item| item.title).collect();
        titles.sort();
        received.push(titles.join(", "));
    }
    assert_eq!(received, ["to approvers", "to owners, to the requester"]);
    Ok(())
}

/// Who holds `platform:admin` is decided as in `access::Subject`: here is what does not make an administrator.
#[tokio::test]
async fn platform_administrators_hold_the_right_globally_in_both_environments_and_now() -> TestResult {
    let world = World::create().await?;
    let (admin, role) = (id(), id());
    let mut work = world.begin().await?;
    insert_user(work.as_mut(), admin, "Ada").await?;
    insert_role(work.as_mut(), role, "Admin", &[Permission::PlatformAdmin]).await?;
    insert_binding(work.as_mut(), admin, role, Scope::Global, EnvironmentSet::ALL).await?;
    work.commit().await?;
    assert_eq!(send(&world, Audience::PlatformAdmins).await?, 1);
    let pool = world.store.connection().get_postgres_connection_pool();
    for (lost, found) in [
        (
            "UPDATE role_bindings b SET allowed_environments = '{test}' FROM roles r WHERE r.id = b.role_id AND r.name = 'Admin'",
            "UPDATE role_bindings b SET allowed_environments = '{prod,test}' FROM roles r WHERE r.id = b.role_id AND r.name = 'Admin'",
        ),
        (
            "UPDATE role_bindings b SET scope_type = 'system', scope_id = gen_random_uuid() FROM roles r WHERE r.id = b.role_id AND r.name = 'Admin'",
            "UPDATE role_bindings b SET scope_type = 'global', scope_id = NULL FROM roles r WHERE r.id = b.role_id AND r.name = 'Admin'",
        ),
        (
            // The notifications of these tests are sent at this moment: a binding that ends then has ended.
            "UPDATE role_bindings b SET expires_at = to_timestamp(1760000000) FROM roles r WHERE r.id = b.role_id AND r.name = 'Admin'",
            "UPDATE role_bindings b SET expires_at = to_timestamp(1760000001) FROM roles r WHERE r.id = b.role_id AND r.name = 'Admin'",
        ),
        (
            "UPDATE roles SET enabled = false WHERE name = 'Admin'",
            "UPDATE roles SET enabled = true WHERE name = 'Admin'",
        ),
        (
            "UPDATE users SET enabled = false WHERE username = 'Ada'",
            "UPDATE users SET enabled = true WHERE username = 'Ada'",
        ),
    ] {
        sqlx::query(lost).execute(pool).await?;
        assert_eq!(send(&world, Audience::PlatformAdmins).await?, 0, "{lost}");
        sqlx::query(found).execute(pool).await?;
        assert_eq!(send(&world, Audience::PlatformAdmins).await?, 1, "{found}");
    }
    Ok(())
}

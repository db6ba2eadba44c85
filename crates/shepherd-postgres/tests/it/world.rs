//! One of everything, made through the repositories.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::ConnectionTrait as _;
use serde_json::json;
use shepherd_domain::access::{Permission, ResourceRole, Scope};
use shepherd_domain::catalog::{InstanceSize, SizeDraft, TemplateSpec, TemplateStatus};
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::event::{AggregateType, EventStatus, EventType};
use shepherd_domain::ids::{
    ClusterId, EventId, InstanceSizeId, NamespaceId, RoleId, ServiceId, SessionId, SystemId, TemplateId, TicketId,
    UserId, VmId,
};
use shepherd_domain::naming::Label;
use shepherd_domain::ticket::{ActorKind, DecidedByKind, RequestType, TicketStatus};
use shepherd_domain::{ActorId, Environment};
use shepherd_ports::clock::NewId;
use shepherd_ports::clusters::NewCluster;
use shepherd_ports::crypto::Sealed;
use shepherd_ports::events::NewEvent;
use shepherd_ports::identity::{NewBinding, NewRole, NewSession, NewUser};
use shepherd_ports::namespaces::NewNamespace;
use shepherd_ports::services::NewService;
use shepherd_ports::systems::NewSystem;
use shepherd_ports::templates::NewTemplate;
use shepherd_ports::tickets::{ApprovalColumns, NewStep, NewTicket, TicketContext};
use shepherd_ports::vms::NewVm;
use shepherd_ports::{RepositoryError, UnitOfWork, UnitOfWorkFactory as _};
use shepherd_postgres::PgStore;
use shepherd_testkit::postgres::TestDatabase;

pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The keys that tests seal with.
const KEYS: &str = "INSERT INTO encryption_keys (key_id, source, state, retired_at) VALUES \
     ('k1', 'external', 'active', NULL), ('k-secret', 'external', 'retired', now()), \
     ('k-headers', 'external', 'retired', now())";

static NUMBER: AtomicU32 = AtomicU32::new(1);

/// The next id; ids sort by the time they were made in.
pub fn id<T: NewId>() -> T {
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    T::from_bits(0x0190_0000_0000_7000_8000_0000_0000_0000 | u128::from(number))
}

/// The moment of all tests, plus some seconds.
pub fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(1_760_000_000 + seconds)
}

pub fn system_actor() -> ActorId {
    ActorId::system("test")
}

pub fn label(name: &str) -> Label {
    Label::from_stored(name.to_owned())
}

/// A migrated database with one of everything that others refer to.
pub struct World {
    /// Dropped last: dropping it removes the database.
    pub store: PgStore,
    pub requester: UserId,
    pub approver: UserId,
    pub approver_role: RoleId,
    pub session: SessionId,
    pub system: SystemId,
    pub service: ServiceId,
    pub namespace: NamespaceId,
    pub cluster: ClusterId,
    pub template: TemplateId,
    pub size: InstanceSizeId,
    _database: TestDatabase,
}

/// A ticket and its event.
#[derive(Clone, Copy, Debug)]
pub struct Submitted {
    pub event: EventId,
    pub ticket: TicketId,
}

impl World {
    /// Namespaces `dev` (test) and `live` (prod), cluster `one`, System `shop` of the requester with Service `redis`,
    /// an approver for test.
    pub async fn create() -> Outcome<Self> {
        let database = TestDatabase::create().await;
        let store = PgStore::new(database.connect().await);
        let world = Self {
            store,
            requester: id(),
            approver: id(),
            approver_role: id(),
            session: id(),
            system: id(),
            service: id(),
            namespace: id(),
            cluster: id(),
            template: id(),
            size: id(),
            _database: database,
        };
        world.store.connection().execute_unprepared(KEYS).await?;
        let mut work = world.begin().await?;
        world.insert_people(work.as_mut()).await?;
        world.insert_places(work.as_mut()).await?;
        world.insert_catalogue(work.as_mut()).await?;
        work.commit().await?;
        Ok(world)
    }

    pub async fn begin(&self) -> Result<Box<dyn UnitOfWork>, RepositoryError> {
        self.store.begin().await
    }

    async fn insert_people(&self, work: &mut dyn UnitOfWork) -> Outcome<()> {
        insert_user(work, self.requester, "Rita").await?;
        insert_user(work, self.approver, "Arno").await?;
        insert_role(
            work,
            self.approver_role,
            "Approver",
            &[Permission::ApprovalApprove, Permission::VmRead],
        )
        .await?;
        insert_binding(
            work,
            self.approver,
            self.approver_role,
            Scope::Global,
            EnvironmentSet::TEST,
        )
        .await?;
        let session = NewSession {
            id: self.session,
            user_id: self.requester,
            issued_at: at(0),
            expires_at: at(86_400),
            ip: Some(IpAddr::from([192, 0, 2, 1])),
            user_agent: Some("test".to_owned()),
        };
        assert!(work.identity().open_session(&session, 10).await?.is_some());
        Ok(())
    }

    async fn insert_places(&self, work: &mut dyn UnitOfWork) -> Outcome<()> {
        insert_namespace(work, self.namespace, "dev", Environment::Test).await?;
        insert_namespace(work, id(), "live", Environment::Prod).await?;
        let cluster = NewCluster {
            id: self.cluster,
            name: "one".to_owned(),
            display_name: None,
            api_server_url: "https://192.0.2.10:6443".to_owned(),
            kubeconfig: Sealed {
                bytes: vec![1, 2, 3],
                key_id: "k1".to_owned(),
            },
            environment: Environment::Test,
            scheduling_weight: 100,
            allow_insecure_tls: false,
            created_by: system_actor(),
        };
        work.clusters().insert(&cluster).await?;
        insert_system(work, self.system, "shop", self.requester).await?;
        work.systems()
            .add_member(id(), self.system, self.requester, ResourceRole::Owner, &system_actor())
            .await?;
        insert_service(work, self.service, self.system, "redis").await
    }

    async fn insert_catalogue(&self, work: &mut dyn UnitOfWork) -> Outcome<()> {
        let version = work
            .templates()
            .insert(&template(self.template, TemplateStatus::Active)?)
            .await?;
        assert_eq!(version, 1);
        work.sizes().insert(&size(self.size)?, &system_actor()).await?;
        Ok(())
    }

    /// A VM creation that waits for approval.
    pub async fn submit_create(&self, work: &mut dyn UnitOfWork) -> Outcome<Submitted> {
        let vm = id::<VmId>();
        let event = insert_event(
            work,
            EventType::VmCreationRequested,
            vm,
            self.requester,
            EventStatus::Pending,
        )
        .await?;
        let ticket = NewTicket {
            service_id: Some(self.service),
            template_id: Some(self.template),
            instance_size_id: Some(self.size),
            ..self.ticket(event, RequestType::CreateVm)
        };
        let number = work.tickets().insert(&ticket, &first_steps(self.requester)).await?;
        assert!(number.starts_with("TKT-"), "{number}");
        Ok(Submitted {
            event,
            ticket: ticket.id,
        })
    }

    /// A VM deletion that waits for approval.
    pub async fn submit_delete(&self, work: &mut dyn UnitOfWork, vm: VmId) -> Outcome<Submitted> {
        let event = insert_event(
            work,
            EventType::VmDeletionRequested,
            vm,
            self.requester,
            EventStatus::Pending,
        )
        .await?;
        let ticket = NewTicket {
            vm_id: Some(vm),
            ..self.ticket(event, RequestType::DeleteVm)
        };
        work.tickets().insert(&ticket, &first_steps(self.requester)).await?;
        Ok(Submitted {
            event,
            ticket: ticket.id,
        })
    }

    fn ticket(&self, event: EventId, request_type: RequestType) -> NewTicket {
        NewTicket {
            id: id(),
            event_id: event,
            request_type,
            status: TicketStatus::PendingApproval,
            environment: Environment::Test,
            requester: self.requester,
            reason: Some("because".to_owned()),
            system_id: Some(self.system),
            service_id: None,
            vm_id: None,
            template_id: None,
            instance_size_id: None,
            namespace: Some("dev".to_owned()),
            context: TicketContext::default(),
            policy: None,
            approvers: Vec::new(),
            external_system: None,
            parent: None,
            at: at(0),
        }
    }

    /// What an approver decides.
    pub fn approval(&self) -> ApprovalColumns {
        ApprovalColumns {
            approver: ActorId::user(self.approver),
            decided_by: DecidedByKind::User,
            comment: Some("fine".to_owned()),
            at: at(60),
            cluster: Some(self.cluster),
            template_version: Some(1),
            storage_class: None,
            template_snapshot: Some(json!({"name": "debian"})),
            size_snapshot: Some(json!({"name": "small"})),
            vm_id: None,
            judged_spec: None,
        }
    }

    /// A machine of an approved ticket, in CREATING.
    pub async fn insert_vm(&self, work: &mut dyn UnitOfWork, namespace: &str, service: ServiceId) -> Outcome<VmId> {
        let index = work
            .services()
            .take_instance_index(service)
            .await?
            .ok_or("the service is gone")?;
        let vm = NewVm {
            id: id(),
            service_id: service,
            name: format!(
                "{namespace}-{}-{index:02}",
                service.to_string().get(28..).unwrap_or_default()
            ),
            instance_index: index,
            instance: format!("{index:02}"),
            namespace: namespace.to_owned(),
            cluster_id: self.cluster,
            ticket_id: id(),
            created_by: ActorId::user(self.requester),
            template_id: self.template,
            template_version: 1,
            instance_size_id: self.size,
            disk_gb: 100,
            cpu_cores: 2,
            memory_mb: 4096,
            storage_class: None,
        };
        work.vms().insert(&vm).await?;
        Ok(vm.id)
    }

    /// The same in a transaction of its own, in namespace `dev`.
    pub async fn vm(&self) -> Outcome<VmId> {
        let mut work = self.begin().await?;
        let vm = self.insert_vm(work.as_mut(), "dev", self.service).await?;
        work.commit().await?;
        Ok(vm)
    }
}

pub async fn insert_user(work: &mut dyn UnitOfWork, user: UserId, username: &str) -> Outcome<()> {
    let user = NewUser {
        id: user,
        username: username.to_owned(),
        email: Some(format!("{username}@example.org")),
        display_name: None,
        password_hash: "hash".to_owned(),
        force_password_change: true,
        enabled: true,
        created_by: system_actor(),
    };
    Ok(work.identity().insert_user(&user).await?)
}

pub async fn insert_role(
    work: &mut dyn UnitOfWork,
    role: RoleId,
    name: &str,
    permissions: &[Permission],
) -> Outcome<()> {
    let role = NewRole {
        id: role,
        key: Some(format!("role-{}", name.to_lowercase())),
        name: name.to_owned(),
        display_name: None,
        description: None,
        permissions: permissions.to_vec(),
        built_in: false,
    };
    assert!(work.identity().ensure_role(&role).await?);
    Ok(())
}

pub async fn insert_binding(
    work: &mut dyn UnitOfWork,
    user: UserId,
    role: RoleId,
    scope: Scope,
    environments: EnvironmentSet,
) -> Outcome<()> {
    let binding = NewBinding {
        id: id(),
        user_id: user,
        role_id: role,
        scope,
        environments,
        source: "manual",
        expires_at: None,
        created_by: system_actor(),
    };
    Ok(work.identity().insert_binding(&binding).await?)
}

pub async fn insert_namespace(
    work: &mut dyn UnitOfWork,
    namespace: NamespaceId,
    name: &str,
    environment: Environment,
) -> Outcome<()> {
    let namespace = NewNamespace {
        id: namespace,
        name: label(name),
        environment,
        description: None,
        created_by: system_actor(),
    };
    Ok(work.namespaces().insert(&namespace).await?)
}

pub async fn insert_system(work: &mut dyn UnitOfWork, system: SystemId, name: &str, by: UserId) -> Outcome<()> {
    let system = NewSystem {
        id: system,
        name: label(name),
        description: Some("a System".to_owned()),
        documentation: None,
        created_by: ActorId::user(by),
    };
    Ok(work.systems().insert(&system).await?)
}

pub async fn insert_service(
    work: &mut dyn UnitOfWork,
    service: ServiceId,
    system: SystemId,
    name: &str,
) -> Outcome<()> {
    let service = NewService {
        id: service,
        system_id: system,
        name: label(name),
        description: None,
        documentation: None,
        created_by: system_actor(),
    };
    Ok(work.services().insert(&service).await?)
}

pub async fn insert_event(
    work: &mut dyn UnitOfWork,
    event_type: EventType,
    vm: VmId,
    by: UserId,
    status: EventStatus,
) -> Outcome<EventId> {
    let event = NewEvent {
        id: id(),
        event_type,
        aggregate_type: AggregateType::Vm,
        aggregate_id: vm.to_string(),
        payload: json!({"schema": 1}),
        status,
        causation_id: None,
        environment: Some(Environment::Test),
        created_by: ActorId::user(by),
        at: at(0),
        trace_id: None,
        trace_parent: None,
    };
    let event_id = event.id;
    work.events().insert(event).await?;
    Ok(event_id)
}

pub fn template(template: TemplateId, status: TemplateStatus) -> Outcome<NewTemplate> {
    let spec: TemplateSpec = serde_json::from_value(json!({
        "image_source": {"container_disk": {"image": "example.org/debian:12"}},
    }))?;
    Ok(NewTemplate {
        id: template,
        name: "debian".to_owned(),
        version: None,
        status,
        display_name: Some("Debian".to_owned()),
        description: None,
        category: None,
        os_family: Some("linux".to_owned()),
        os_version: Some("12".to_owned()),
        spec,
        quick_fields: Vec::new(),
        advanced_fields: Vec::new(),
        content_sha256: "0".repeat(64),
        validated_at: None,
        seeded: false,
        created_by: system_actor(),
        at: at(0),
    })
}

fn size(size: InstanceSizeId) -> Outcome<InstanceSize> {
    let draft: SizeDraft = serde_json::from_value(json!({
        "name": "small", "cpu_cores": 2, "memory_mb": 4096,
        "gpu_devices": [{"name": "gpu0", "device_name": "nvidia.com/A10"}],
    }))?;
    Ok(draft.into_size(size)?)
}

fn first_steps(requester: UserId) -> [NewStep; 2] {
    [
        NewStep {
            from: None,
            to: TicketStatus::Submitted,
            actor: ActorId::user(requester),
            kind: ActorKind::User,
            reason: None,
        },
        NewStep {
            from: Some(TicketStatus::Submitted),
            to: TicketStatus::PendingApproval,
            actor: ActorId::from_stored(ActorId::POLICY.to_owned()),
            kind: ActorKind::System,
            reason: Some("approval is required".to_owned()),
        },
    ]
}

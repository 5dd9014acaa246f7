use std::net::{IpAddr, Ipv4Addr, TcpListener};

use libtest_mimic::Trial;
use vrooli_deploy_core::names::AppName;
use vrooli_deploy_core::provider::{
    Change, Created, ErrorKind, PhysicalId, ResourceHandler, ResourceKindDef,
};
use vrooli_deploy_provider_local::kinds::port::{self, PortObserved, PortSpec};
use vrooli_deploy_provider_local::kinds::volume::VolumeSpec;
use vrooli_deploy_provider_local::kinds::{Port, Volume};

use crate::place::{Place, context, key, stack, trial, wait};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("port_is_chosen_once_and_kept", &[], chosen),
        trial("port_that_is_taken_is_refused_with_who_has_it", &[], taken),
        trial("port_of_many_at_once_are_all_different", &[], many),
        trial("port_of_one_workspace_is_no_other_ones", &[], workspaces),
        trial("volume_is_made_kept_and_removed", &[], volume),
    ]
}

fn read<T>(created: Created<T>) -> T {
    match created {
        Created::Read { observed, .. } => observed,
        Created::Unread { .. } => panic!("unread"),
    }
}

fn want(port: Option<u16>) -> PortSpec {
    PortSpec { port, listen: LOOPBACK }
}

fn chosen() {
    let place = Place::new();
    let (machine, cx, key) = (&place.machine, place.cx(), key("port/public"));
    wait(async {
        let have = read(Port.create(machine, &cx, &key, &want(None)).await.unwrap());
        assert_eq!(Port.diff(&want(None), &have), Change::None);
        // In use by our own edge it is still ours.
        let _edge = TcpListener::bind((LOOPBACK, have.port)).unwrap();
        assert_eq!(read(Port.create(machine, &cx, &key, &want(None)).await.unwrap()), have);
        assert_eq!(read(Port.create(machine, &cx, &key, &want(Some(have.port))).await.unwrap()), have);
        assert_eq!(port::read(&machine.layout, &cx.stack).unwrap(), Some(have.clone()));
        let found = Port.find(machine, &cx, &key, None).await.unwrap();
        assert_eq!(found[0].observed, have);
        Port.delete(machine, &cx, &key, &found[0].id).await.unwrap();
        Port.delete(machine, &cx, &key, &found[0].id).await.unwrap();
        assert!(Port.find(machine, &cx, &key, None).await.unwrap().is_empty());
    });
}

fn taken() {
    let place = Place::new();
    let (machine, cx, key) = (&place.machine, place.cx(), key("port/public"));
    let somebody = TcpListener::bind((LOOPBACK, 0)).unwrap();
    let port = somebody.local_addr().unwrap().port();
    let error = wait(Port.create(machine, &cx, &key, &want(Some(port)))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.message().contains(&format!("process {}", std::process::id())), "{error}");
    assert!(wait(Port.find(machine, &cx, &key, None)).unwrap().is_empty());
}

fn many() {
    let place = Place::new();
    let machine = &place.machine;
    let ports: Vec<PortObserved> = wait(async {
        let mut tasks = Vec::new();
        for number in 0..8 {
            let mut stack = stack();
            stack.app = AppName::new(format!("app-{number}")).unwrap();
            let machine = machine.clone();
            tasks.push(tokio::spawn(async move {
                read(Port.create(&machine, &context(&stack), &key("port/public"), &want(None)).await.unwrap())
            }));
        }
        let mut ports = Vec::new();
        for task in tasks {
            ports.push(task.await.unwrap());
        }
        ports
    });
    let different: std::collections::BTreeSet<u16> = ports.iter().map(|port| port.port).collect();
    assert_eq!(different.len(), 8);
}

fn workspaces() {
    let (one, other, third) = (Place::new(), Place::new(), Place::new());
    let key = key("port/public");
    wait(async {
        // The same id, so both begin their search at the same number.
        one.machine.layout.workspace_id().unwrap();
        std::fs::create_dir_all(other.state()).unwrap();
        std::fs::copy(one.state().join("id"), other.state().join("id")).unwrap();
        let create = |place: &Place, port| {
            let (machine, cx, key) = (place.machine.clone(), place.cx(), key.clone());
            async move { Port.create(&machine, &cx, &key, &want(port)).await }
        };
        // Nobody listens yet.
        let first = read(create(&one, None).await.unwrap());
        let second = read(create(&other, None).await.unwrap());
        assert_ne!(first.port, second.port);
        let error = create(&third, Some(first.port)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.message().contains("another workspace"), "{error}");
        // What is given up is anybody's again.
        let id = PhysicalId(String::new());
        Port.delete(&one.machine, &one.cx(), &key, &id).await.unwrap();
        assert_eq!(read(create(&third, Some(first.port)).await.unwrap()).port, first.port);
    });
}

fn volume() {
    let place = Place::new();
    let (machine, cx, key) = (&place.machine, place.cx(), key("volume/data"));
    wait(async {
        let have = read(Volume.create(machine, &cx, &key, &VolumeSpec {}).await.unwrap());
        std::fs::write(have.path.join("kept"), "x").unwrap();
        assert_eq!(read(Volume.create(machine, &cx, &key, &VolumeSpec {}).await.unwrap()), have);
        assert!(have.path.join("kept").exists());
        let id = PhysicalId(String::new());
        Volume.delete(machine, &cx, &key, &id).await.unwrap();
        Volume.delete(machine, &cx, &key, &id).await.unwrap();
        assert!(Volume.find(machine, &cx, &key, None).await.unwrap().is_empty());
    });
}

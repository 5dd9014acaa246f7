use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// Nothing that is waited for takes so long.
const PATIENCE: Duration = Duration::from_secs(120);

/// What load balancers stand in: the network that every account has, as its ids.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) vpc: String,
    /// In three zones.
    pub(crate) subnets: Vec<String>,
    /// The addresses of the first of them.
    pub(crate) range: String,
    pub(crate) security_groups: [String; 2],
    /// An address that no stack allocated.
    pub(crate) address: String,
    /// A target group and certificates that no stack made.
    pub(crate) target_group: String,
    pub(crate) certificates: [String; 2],
    /// Subnets and settings for databases, both of this name, and a secret, that no stack made.
    pub(crate) elsewhere: &'static str,
    pub(crate) secret: String,
}

/// The emulator's.
pub(crate) fn network() -> &'static Network {
    NETWORK.get().unwrap()
}

static NETWORK: OnceLock<Network> = OnceLock::new();

impl Network {
    /// Calls as they are on the wire: what was there before is not made by what is tried.
    fn ask(address: SocketAddr) -> Self {
        let ec2 = |form: &str| ec2(address, form);
        let said = ec2("Action=DescribeSubnets");
        let (vpcs, mut subnets) = (ids(&said, "vpcId"), ids(&said, "subnetId"));
        subnets.truncate(3);
        let range = ids(&said, "cidrBlock").swap_remove(0);
        let vpc = vpcs.first().unwrap().clone();
        let security_groups = ["one", "another"].map(|name| {
            let make = format!("Action=CreateSecurityGroup&GroupName={name}&GroupDescription=x&VpcId={vpc}");
            ids(&ec2(&make), "groupId").pop().unwrap()
        });
        let allocated = ids(&ec2("Action=AllocateAddress&Domain=vpc"), "allocationId").pop().unwrap();
        let make = format!(
            "Action=CreateTargetGroup&Name=elsewhere&Protocol=HTTP&Port=80&TargetType=ip&VpcId={vpc}\
             &Version=2015-12-01"
        );
        let target_group = query(address, "elasticloadbalancing", &make);
        let target_group = ids(&target_group, "TargetGroupArn").pop().unwrap();
        let certificates = ["one", "another"].map(|name| {
            let make = format!(r#"{{"DomainName":"{name}.example.net","ValidationMethod":"DNS"}}"#);
            let target = "content-type: application/x-amz-json-1.1\r\n\
                          x-amz-target: CertificateManager.RequestCertificate\r\n";
            let said = signed(address, "acm", target, &make);
            said.split('"').find(|word| word.starts_with("arn:")).unwrap().to_owned()
        });
        let elsewhere = "elsewhere";
        for make in [
            format!(
                "Action=CreateDBSubnetGroup&DBSubnetGroupName={elsewhere}&DBSubnetGroupDescription=x\
                 &SubnetIds.SubnetIdentifier.1={}",
                subnets[0]
            ),
            format!(
                "Action=CreateDBParameterGroup&DBParameterGroupName={elsewhere}\
                 &DBParameterGroupFamily=postgres16&Description=x"
            ),
        ] {
            let said = query(address, "rds", &format!("{make}&Version=2014-10-31"));
            assert!(said.contains(elsewhere), "{said}");
        }
        let target = "content-type: application/x-amz-json-1.1\r\n\
                      x-amz-target: secretsmanager.CreateSecret\r\n";
        let said = signed(address, "secretsmanager", target, r#"{"Name":"elsewhere","SecretString":"a1b2"}"#);
        let secret = said.split('"').find(|word| word.starts_with("arn:")).unwrap().to_owned();
        Self {
            vpc,
            subnets,
            range,
            security_groups,
            address: allocated,
            target_group,
            certificates,
            elsewhere,
            secret,
        }
    }
}

/// A call of EC2 by another hand.
pub(crate) fn ec2(address: SocketAddr, form: &str) -> String {
    query(address, "ec2", &format!("{form}&Version=2016-11-15"))
}

pub(crate) fn query(address: SocketAddr, service: &str, form: &str) -> String {
    signed(address, service, "content-type: application/x-www-form-urlencoded\r\n", form)
}

/// The emulator reads of a signature which service is meant.
fn signed(address: SocketAddr, service: &str, headers: &str, body: &str) -> String {
    let headers = format!(
        "{headers}authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/us-east-1/{service}/\
         aws4_request, SignedHeaders=host, Signature=0\r\n"
    );
    asked(address, "POST", "/", &headers, body).unwrap()
}

/// What stands in all elements of a name.
pub(crate) fn ids(said: &str, element: &str) -> Vec<String> {
    let (start, end) = (format!("<{element}>"), format!("</{element}>"));
    said.split(&start).skip(1).filter_map(|rest| Some(rest.split_once(&end)?.0.to_owned())).collect()
}

/// A moto of our own on a free port. What is in it is gone with it.
#[derive(Debug)]
pub(crate) struct Emulator {
    pub(crate) address: SocketAddr,
    server: Mutex<Child>,
}

impl Emulator {
    pub(crate) fn start() -> Result<Self, String> {
        let folder = std::env::var("VROOLI_DEPLOY_MOTO").map_err(|_| "VROOLI_DEPLOY_MOTO is not set")?;
        let program = Path::new(&folder).join("moto_server");
        if !program.is_file() {
            return Err(format!("there is no {}", program.display()));
        }
        // Another program may take the port in between: then it is another port's turn.
        for _ in 0..5 {
            let address = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).unwrap();
            let mut server = Command::new(&program)
                .args(["-H", "127.0.0.1", "-p", &address.port().to_string()])
                .env("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
                .env("MOTO_ACM_VALIDATION_WAIT", "1")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let until = Instant::now() + PATIENCE;
            while server.try_wait().unwrap().is_none() {
                let said = asked(address, "GET", "/moto-api/data.json", "", "");
                if said.is_ok_and(|said| said.contains(" 200 ")) {
                    NETWORK.get_or_init(|| Network::ask(address));
                    return Ok(Self { address, server: Mutex::new(server) });
                }
                assert!(Instant::now() < until, "moto does not answer");
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        panic!("moto does not start");
    }

    pub(crate) fn stop(&self) {
        let mut server = self.server.lock().unwrap();
        let _ = server.kill();
        let _ = server.wait();
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Databases that are deleted leave snapshots with their tags, which other trials need not see.
pub(crate) fn forget_snapshots(address: SocketAddr) {
    let rds = |form: &str| query(address, "rds", &format!("{form}&Version=2014-10-31"));
    for name in ids(&rds("Action=DescribeDBSnapshots"), "DBSnapshotIdentifier") {
        rds(&format!("Action=DeleteDBSnapshot&DBSnapshotIdentifier={name}"));
    }
}

/// So many looks at a distribution find it on its way.
pub(crate) fn looks_until_deployed(address: SocketAddr, times: u32) {
    let order = format!(
        r#"{{"model_name":"cloudfront::distribution","transition":{{"progression":"manual","times":{times}}}}}"#
    );
    let (path, json) = ("/moto-api/state-manager/set-transition", "content-type: application/json\r\n");
    assert!(asked(address, "POST", path, json, &order).unwrap().contains(" 201 "), "moto takes no order");
}

fn asked(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: {length}\r\n{headers}\
         connection: close\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes())?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    Ok(said)
}

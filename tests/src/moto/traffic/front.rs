//! Traffic: requests are passed on by the rules and weights that the emulator has.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::server::answer;
use crate::moto::{elements, query};

/// Who gets the requests of a listener or rule.
#[derive(Debug, Default)]
struct Route {
    priority: u32,
    paths: Vec<String>,
    weights: Vec<(String, u64)>,
}

impl Route {
    fn fits(&self, path: &str) -> bool {
        let fits = |pattern: &String| match pattern.strip_suffix('*') {
            Some(start) => path.starts_with(start),
            None => path == pattern,
        };
        self.paths.is_empty() || self.paths.iter().any(fits)
    }
}

/// Passes requests on.
#[derive(Debug)]
pub(in crate::moto) struct Front {
    emulator: SocketAddr,
    routes: Mutex<Vec<Route>>,
    turn: AtomicU64,
}

impl Front {
    pub(in crate::moto) fn of(emulator: SocketAddr) -> Self {
        Self { emulator, routes: Mutex::default(), turn: AtomicU64::default() }
    }

    /// Asks the emulator for its rules: from now on they hold.
    pub(in crate::moto) fn look(&self) -> io::Result<()> {
        let routes = self.routes()?;
        *self.routes.lock().unwrap_or_else(PoisonError::into_inner) = routes;
        Ok(())
    }

    /// Who gets what: the rules of all listeners, and what they give besides.
    fn routes(&self) -> io::Result<Vec<Route>> {
        let ask =
            |form: &str| query(self.emulator, "elasticloadbalancing", &format!("{form}&Version=2015-12-01"));
        let weights = |said: &str| -> Vec<(String, u64)> {
            let (groups, weights) = (elements(said, "TargetGroupArn"), elements(said, "Weight"));
            groups.into_iter().zip(weights.iter().map(|weight| weight.parse().unwrap_or(0))).collect()
        };
        let mut all = Vec::new();
        for balancer in elements(&ask("Action=DescribeLoadBalancers")?, "LoadBalancerArn") {
            let said = ask(&format!("Action=DescribeListeners&LoadBalancerArn={balancer}"))?;
            for listener in elements(&said, "ListenerArn") {
                let said = ask(&format!("Action=DescribeRules&ListenerArn={listener}"))?;
                // Elements of a name stand in each other here: a rule is what stands before the next one's ARN.
                for rule in said.split("<IsDefault>") {
                    let Some(forward) = elements(rule, "ForwardConfig").pop() else { continue };
                    let priority = elements(rule, "Priority").pop().unwrap_or_default();
                    let conditions = elements(rule, "PathPatternConfig");
                    all.push(Route {
                        priority: priority.parse().unwrap_or(u32::MAX),
                        paths: conditions.iter().flat_map(|one| elements(one, "member")).collect(),
                        weights: weights(&forward),
                    });
                }
            }
        }
        all.sort_by_key(|route| route.priority);
        Ok(all)
    }

    /// Passes a request on, as the load balancer does it: to one of the targets that a group has.
    pub(in crate::moto) fn pass(&self, request: &[u8], targets: impl Fn(&str) -> Vec<SocketAddr>) -> Vec<u8> {
        let head = String::from_utf8_lossy(request);
        let path = head.split(' ').nth(1).unwrap_or_default();
        let path = path.split('?').next().unwrap_or_default();
        let target = {
            let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(route) = routes.iter().find(|route| route.fits(path)) else {
                return answer(404, "", "no rule is for it");
            };
            let total: u64 = route.weights.iter().map(|(_, weight)| weight).sum();
            let turn = self.turn.fetch_add(1, Ordering::SeqCst);
            let mut place = match total {
                0 => return answer(503, "", "no target group gets anything"),
                total => turn % total,
            };
            let group = route.weights.iter().find(|(_, weight)| {
                let here = place < *weight;
                place = place.saturating_sub(*weight);
                here
            });
            let targets = targets(group.map(|(group, _)| group.as_str()).unwrap_or_default());
            let one = usize::try_from(turn).unwrap_or(0).checked_rem(targets.len());
            one.and_then(|at| targets.get(at)).copied()
        };
        let passed = target.map(|address| -> io::Result<Vec<u8>> {
            let mut stream = TcpStream::connect(address)?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            stream.write_all(request)?;
            let mut said = Vec::new();
            stream.read_to_end(&mut said)?;
            Ok(said)
        });
        match passed {
            Some(Ok(said)) => said,
            Some(Err(error)) => answer(502, "", &error.to_string()),
            None => answer(503, "", "no target"),
        }
    }
}

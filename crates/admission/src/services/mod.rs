//! `ServiceAllocator`: cluster addresses and node ports of services.
//!
//! Chooses while the object is changed, reserves when it has passed everything else, learns
//! from the log what was really written. Holds no copy of services, only who has which number.
//! Upstream counterpart: `pkg/registry/core/service/storage/alloc.go`.

mod defaults;
mod range;
mod wanted;

pub use range::{PortRange, ServiceRange};

use crate::{
    common::{invalid, is, writes},
    ledger::{Ledger, Token, token},
};
use env::Time;
use kinds::SERVICES;
use machinery::{FieldError, Object, SmolStr, Status, Value};
use registry::{Admission, Door, Handles, Operation, Review, Subscription};
use std::sync::Mutex;
use wanted::Wanted;

/// The plug-in.
pub struct ServiceAllocator {
    addresses: ServiceRange,
    ports: PortRange,
    state: Mutex<State>,
}

/// What is given out, and how far the log has been read.
#[derive(Default)]
struct State {
    log: Option<Subscription>,
    addresses: Ledger,
    ports: Ledger,
}

impl ServiceAllocator {
    /// An allocator over these ranges.
    pub fn new(addresses: ServiceRange, ports: PortRange) -> Self {
        Self {
            addresses,
            ports,
            state: Mutex::default(),
        }
    }

    /// Runs `work` on a state that has seen the log up to now.
    fn with<T>(
        &self,
        door: &Door,
        work: impl FnOnce(&mut State) -> Result<T, Status>,
    ) -> Result<T, Status> {
        let mut state = self
            .state
            .lock()
            .expect("no holder of the allocations panics");
        state.catch_up(door)?;
        work(&mut state)
    }
}

impl Admission for ServiceAllocator {
    fn name(&self) -> &'static str {
        "ServiceAllocator"
    }

    fn handles(&self) -> Handles {
        Handles {
            told: false,
            ..Handles::NOTHING
                .admits(&[Operation::Create, Operation::Update])
                .validates(&[Operation::Create, Operation::Update])
                .of(&[SERVICES])
        }
    }

    fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if !writes(review, SERVICES) {
            return Ok(());
        }
        let old = review.old.map(|old| old.root().to_value());
        defaults::carry_over(&mut review.object, old.as_ref());
        defaults::families(&mut review.object, old.as_ref())
            .map_err(|error| invalid(review, &[error]))?;
        let (door, mut object) = (review.door, std::mem::take(&mut review.object));
        let chosen = self.with(door, |state| self.choose(state, door, &mut object));
        review.object = object;
        chosen
    }

    fn validate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if !writes(review, SERVICES) {
            return Ok(());
        }
        let pass = (token(review), review.door.now());
        let wanted = Wanted::of(&review.object);
        let had = review
            .old
            .map(|old| Wanted::of(&old.root().to_value()))
            .unwrap_or_default();
        self.with(review.door, |state| {
            let reserved = self.reserve(state, &wanted, &had, review.object.uid(), pass);
            if reserved.is_err() {
                state.roll_back(pass.0);
            }
            reserved.map_err(|errors| invalid(review, &errors))
        })
    }

    fn rolled_back(&self, review: &Review<'_>) {
        let service =
            is(review, SERVICES, Operation::Create) || is(review, SERVICES, Operation::Update);
        if service {
            let mut state = self
                .state
                .lock()
                .expect("no holder of the allocations panics");
            state.roll_back(token(review));
        }
    }
}

impl ServiceAllocator {
    /// Fills in what the service leaves to the server.
    fn choose(&self, state: &mut State, door: &Door, service: &mut Value) -> Result<(), Status> {
        let (now, chance) = (door.now(), &door.world().entropy);
        if wanted::lacks_address(service) {
            let address = self.choose_address(&mut state.addresses, chance.next_u64(), now)?;
            let text = self.addresses.address(address).to_string();
            service.set_at(&["spec", "clusterIPs"], vec![text.as_str()]);
            service.set_at(&["spec", "clusterIP"], text);
        }
        for (at, shared) in wanted::ports_to_choose(service) {
            let ports = service
                .at_mut(&["spec", "ports"])
                .and_then(Value::as_array_mut);
            let ports = ports.expect("a list that has a port to choose");
            let port = match shared {
                Some(earlier) => ports[earlier]["nodePort"].clone(),
                None => self
                    .choose_port(&mut state.ports, chance.next_u64(), now)?
                    .into(),
            };
            ports[at].make_object().insert("nodePort", port);
        }
        if wanted::lacks_health_port(service) {
            let port = self.choose_port(&mut state.ports, chance.next_u64(), now)?;
            service.set_at(&["spec", "healthCheckNodePort"], port);
        }
        Ok(())
    }

    /// The upper band first, so that addresses people ask for by number stay free.
    fn choose_address(&self, ledger: &mut Ledger, start: u64, now: Time) -> Result<u32, Status> {
        let (low, high) = self.addresses.bands();
        let chosen = ledger
            .choose(high, start, now)
            .or_else(|| ledger.choose(low, start, now));
        chosen.ok_or_else(|| Status::internal("failed to allocate a serviceIP: range is full"))
    }

    fn choose_port(&self, ledger: &mut Ledger, start: u64, now: Time) -> Result<u32, Status> {
        let (low, high) = self.ports.bands();
        let chosen = ledger
            .choose(high, start, now)
            .or_else(|| ledger.choose(low, start, now));
        chosen.ok_or_else(|| Status::internal("failed to allocate a nodePort: range is full"))
    }

    /// Reserves everything that `wanted` has beyond `had`, or says what cannot be had.
    fn reserve(
        &self,
        state: &mut State,
        wanted: &Wanted,
        had: &Wanted,
        owner: &str,
        pass: (Token, Time),
    ) -> Result<(), Vec<FieldError>> {
        let mut errors = Vec::new();
        for text in wanted
            .addresses
            .iter()
            .filter(|text| !had.addresses.contains(text))
        {
            let number = self.addresses.number(text);
            let why = match number {
                None => self.addresses.outside(text),
                Some(number) if !state.addresses.reserve(number, owner, pass) => {
                    "provided IP is already allocated".into()
                }
                Some(_) => continue,
            };
            let list: Vec<&str> = wanted.addresses.iter().map(SmolStr::as_str).collect();
            errors.push(FieldError::invalid(
                "spec.clusterIPs",
                list,
                format!("failed to allocate IP {text}: {why}"),
            ));
        }
        for (path, port) in wanted
            .ports
            .iter()
            .filter(|(_, port)| !had.ports.iter().any(|(_, had)| had == port))
        {
            let why = match self.ports.number(*port) {
                None => self.ports.outside(),
                Some(number) if !state.ports.reserve(number, owner, pass) => {
                    "provided port is already allocated".into()
                }
                Some(_) => continue,
            };
            errors.push(FieldError::invalid(path.as_str(), *port, why));
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }
}

impl State {
    /// Reads the log to its end; from the whole state at first and after falling behind.
    fn catch_up(&mut self, door: &Door) -> Result<(), Status> {
        loop {
            let Some(log) = &mut self.log else {
                self.rebuild(door)?;
                continue;
            };
            match log.try_next() {
                Ok(changes) if changes.is_empty() => return Ok(()),
                Ok(changes) => {
                    for change in &changes {
                        self.see(change.old.as_deref(), change.new.as_deref());
                    }
                }
                Err(_) => self.log = None,
            }
        }
    }

    fn rebuild(&mut self, door: &Door) -> Result<(), Status> {
        let snapshot = door.snapshot();
        self.addresses.forget_held();
        self.ports.forget_held();
        for service in snapshot.list(SERVICES, None) {
            self.see(None, Some(service));
        }
        self.log = Some(door.subscribe_to(SERVICES, snapshot.revision)?);
        Ok(())
    }

    fn see(&mut self, old: Option<&Object>, new: Option<&Object>) {
        if let Some(old) = old {
            let wanted = Wanted::of(&old.root().to_value());
            wanted
                .numbers()
                .for_each(|number| self.addresses.release(number, old.uid()));
            wanted
                .port_numbers()
                .for_each(|number| self.ports.release(number, old.uid()));
        }
        if let Some(new) = new {
            let wanted = Wanted::of(&new.root().to_value());
            wanted
                .numbers()
                .for_each(|number| self.addresses.hold(number, new.uid()));
            wanted
                .port_numbers()
                .for_each(|number| self.ports.hold(number, new.uid()));
        }
    }

    fn roll_back(&mut self, token: Token) {
        self.addresses.roll_back(token);
        self.ports.roll_back(token);
    }
}

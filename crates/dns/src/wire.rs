//! From a request's bytes to a response's bytes.
//!
//! Pure: must not know sockets. Upstream counterpart: `miekg/dns` as CoreDNS uses it.

use crate::zone::{Answer, Data, Outcome, RecordType, Zone};
use hickory_proto::{
    ProtoError,
    op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode},
    rr::{
        DNSClass, Name, RData, Record, RecordType as WireType,
        rdata::{A, AAAA, CNAME, PTR, SOA, SRV, TXT},
    },
};

/// Seconds an answer may be kept: the default of CoreDNS' `kubernetes` plugin.
const TTL: u32 = 5;
/// Largest UDP response without EDNS.
const PLAIN_UDP: u16 = 512;
/// Largest UDP response at all: fits every link without fragments (DNS flag day 2020).
const LARGEST_UDP: u16 = 1232;
/// Largest TCP response.
const LARGEST_TCP: usize = u16::MAX as usize;
/// Bytes of a DNS header: less is no request.
const HEADER: usize = 12;

/// Answers a request that came over UDP; `None` if it deserves no answer.
pub fn answer_udp(zone: &Zone, request: &[u8]) -> Option<Vec<u8>> {
    answer(zone, request, |request| {
        let allowed = request.edns.as_ref().map_or(PLAIN_UDP, Edns::max_payload);
        allowed.clamp(PLAIN_UDP, LARGEST_UDP).into()
    })
}

/// Answers a request that came over TCP (without its length prefix); `None` if it deserves no answer.
pub fn answer_tcp(zone: &Zone, request: &[u8]) -> Option<Vec<u8>> {
    answer(zone, request, |_| LARGEST_TCP)
}

fn answer(zone: &Zone, bytes: &[u8], room: impl Fn(&Message) -> usize) -> Option<Vec<u8>> {
    let request = match Message::from_vec(bytes) {
        Ok(request) => request,
        Err(_) => return malformed(bytes),
    };
    if request.metadata.message_type == MessageType::Response {
        return None;
    }
    let room = room(&request);
    let response = respond(zone, &request).unwrap_or_else(|_| {
        let mut failed = empty_response(&request);
        failed.metadata.response_code = ResponseCode::ServFail;
        failed
    });
    fit(response, room)
}

/// An answer to what cannot be read, addressed by the id alone.
fn malformed(bytes: &[u8]) -> Option<Vec<u8>> {
    let is_response = bytes.get(2).is_some_and(|flags| flags & 0x80 != 0);
    if bytes.len() < HEADER || is_response {
        return None;
    }
    let id = u16::from_be_bytes([bytes[0], bytes[1]]);
    Message::error_msg(id, OpCode::Query, ResponseCode::FormErr)
        .to_vec()
        .ok()
}

fn empty_response(request: &Message) -> Message {
    let mut response = Message::response(request.metadata.id, request.metadata.op_code);
    response.metadata = Metadata::response_from_request(&request.metadata);
    response.add_queries(request.queries.iter().cloned());
    if request.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(LARGEST_UDP);
        response.set_edns(edns);
    }
    response
}

fn respond(zone: &Zone, request: &Message) -> Result<Message, ProtoError> {
    let mut response = empty_response(request);
    let code = match (request.metadata.op_code, request.queries.as_slice()) {
        (OpCode::Query, [query]) if is_internet(query) => {
            let answer = zone.resolve(&query.name.to_ascii(), record_type(query.query_type));
            fill(&mut response, zone, &query.name, answer)?
        }
        (OpCode::Query, [_]) => ResponseCode::Refused,
        (OpCode::Query, _) => ResponseCode::FormErr,
        _ => ResponseCode::NotImp,
    };
    response.metadata.response_code = code;
    Ok(response)
}

fn is_internet(query: &Query) -> bool {
    matches!(query.query_class, DNSClass::IN | DNSClass::ANY)
}

fn record_type(wire: WireType) -> RecordType {
    match wire {
        WireType::A => RecordType::A,
        WireType::AAAA => RecordType::Aaaa,
        WireType::SRV => RecordType::Srv,
        WireType::PTR => RecordType::Ptr,
        WireType::CNAME => RecordType::Cname,
        WireType::TXT => RecordType::Txt,
        WireType::SOA => RecordType::Soa,
        _ => RecordType::Other,
    }
}

/// Puts an answer into the response and returns its code.
fn fill(
    response: &mut Message,
    zone: &Zone,
    asked: &Name,
    mut answer: Answer,
) -> Result<ResponseCode, ProtoError> {
    if answer.outcome == Outcome::NotOurs {
        return Ok(ResponseCode::Refused);
    }
    response.metadata.authoritative = true;
    rotate(&mut answer, response.metadata.id);
    for (at, (name, data)) in answer.records.iter().enumerate() {
        // The first owner keeps the letter case of the question, as some resolvers insist.
        let owner = if at == 0 || asked.to_ascii().eq_ignore_ascii_case(&format!("{name}.")) {
            asked.clone()
        } else {
            absolute(name)?
        };
        response.add_answer(Record::from_rdata(owner, TTL, wire_data(zone, data)?));
    }
    for (name, data) in &answer.additional {
        let data = wire_data(zone, data)?;
        response.add_additional(Record::from_rdata(absolute(name)?, TTL, data));
    }
    if answer.records.is_empty() {
        let soa = wire_data(zone, &Data::Soa)?;
        response.add_authority(Record::from_rdata(absolute(zone.domain())?, TTL, soa));
    }
    Ok(match answer.outcome {
        Outcome::NoName => ResponseCode::NXDomain,
        _ => ResponseCode::NoError,
    })
}

/// Clients take the first address: begin at another one each time, by the request's random id.
fn rotate(answer: &mut Answer, id: u16) {
    let addresses_only = answer.records.iter().all(|(_, d)| matches!(d, Data::A(_)));
    if addresses_only && !answer.records.is_empty() {
        let by = usize::from(id) % answer.records.len();
        answer.records.rotate_left(by);
    }
}

fn absolute(name: &str) -> Result<Name, ProtoError> {
    Name::from_ascii(format!("{name}."))
}

fn wire_data(zone: &Zone, data: &Data) -> Result<RData, ProtoError> {
    Ok(match data {
        Data::A(address) => RData::A(A(*address)),
        Data::Aaaa(address) => RData::AAAA(AAAA(*address)),
        Data::Cname(target) => RData::CNAME(CNAME(absolute(target)?)),
        Data::Ptr(target) => RData::PTR(PTR(absolute(target)?)),
        Data::Txt(text) => RData::TXT(TXT::new(vec![text.clone()])),
        Data::Srv {
            weight,
            port,
            target,
        } => RData::SRV(SRV::new(0, *weight, *port, absolute(target)?)),
        Data::Soa => RData::SOA(soa(zone)?),
    })
}

/// The zone's own record, with the timers CoreDNS gives.
fn soa(zone: &Zone) -> Result<SOA, ProtoError> {
    let name = |label: &str| absolute(&format!("{label}.{}", zone.domain()));
    let (server, mailbox) = (name("ns.dns")?, name("hostmaster")?);
    Ok(SOA::new(
        server,
        mailbox,
        zone.serial(),
        7200,
        1800,
        86400,
        TTL,
    ))
}

/// Encodes a response in at most `room` bytes: first without additional records, then
/// truncated, so that the client asks again over TCP.
fn fit(mut response: Message, room: usize) -> Option<Vec<u8>> {
    let bytes = response.to_vec().ok()?;
    if bytes.len() <= room {
        return Some(bytes);
    }
    response.additionals.clear();
    loop {
        let bytes = response.to_vec().ok()?;
        if bytes.len() <= room || response.answers.is_empty() {
            return Some(bytes);
        }
        response.metadata.truncation = true;
        let kept = response.answers.len() * 3 / 4;
        response.answers.truncate(kept);
    }
}

//! Header blocks: name-value pairs behind one zlib stream for each direction of a connection.
//!
//! Upstream counterpart: `moby/spdystream/spdy/{read,write}.go`.

use super::{SpdyError, dictionary::dictionary};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

/// Headers of one block, unpacked, bytes: what peers send is below 1 KiB, and a small block must
/// not unpack into much.
const BLOCK_MAX: usize = 64 * 1024;
/// Pairs of one block.
const PAIRS_MAX: usize = 128;
/// Room for one call of the compressor, bytes.
const CHUNK: usize = 4096;

/// Names (lower case) and values.
pub type Headers = Vec<(String, String)>;

/// Unpacks the header blocks of one direction, in their order.
pub struct Unpacker(Decompress);

impl Default for Unpacker {
    fn default() -> Self {
        Self(Decompress::new(true))
    }
}

impl Unpacker {
    /// The pairs of the next block.
    pub fn unpack(&mut self, block: &[u8]) -> Result<Headers, SpdyError> {
        pairs(&self.inflate(block)?)
    }

    fn inflate(&mut self, mut input: &[u8]) -> Result<Vec<u8>, SpdyError> {
        let bad = SpdyError("a header block is not zlib data");
        let mut out = Vec::with_capacity(CHUNK);
        loop {
            let (read, wrote) = (self.0.total_in(), out.len());
            out.reserve(CHUNK);
            let result = self
                .0
                .decompress_vec(input, &mut out, FlushDecompress::Sync);
            let taken = (self.0.total_in() - read) as usize;
            input = input.get(taken..).ok_or(bad)?;
            match result {
                Ok(_) => {}
                Err(why) if why.needs_dictionary().is_some() => {
                    self.0.set_dictionary(&dictionary()).map_err(|_| bad)?;
                    continue;
                }
                Err(_) => return Err(bad),
            }
            if out.len() > BLOCK_MAX {
                return Err(SpdyError("a header block is too long"));
            }
            let stalled = taken == 0 && out.len() == wrote;
            if stalled || (input.is_empty() && out.len() < out.capacity()) {
                return Ok(out);
            }
        }
    }
}

/// Packs the header blocks of one direction, in their order.
pub struct Packer(Compress);

impl Default for Packer {
    fn default() -> Self {
        let mut zlib = Compress::new(Compression::fast(), true);
        zlib.set_dictionary(&dictionary())
            .expect("a fresh compressor takes a dictionary");
        Self(zlib)
    }
}

impl Packer {
    /// The next block.
    pub fn pack(&mut self, headers: &[(String, String)]) -> Vec<u8> {
        let mut plain = (headers.len() as u32).to_be_bytes().to_vec();
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            plain.extend((text.len() as u32).to_be_bytes());
            plain.extend(text.as_bytes());
        }
        let mut out = Vec::with_capacity(CHUNK);
        let mut input = &plain[..];
        loop {
            out.reserve(CHUNK);
            let read = self.0.total_in();
            self.0
                .compress_vec(input, &mut out, FlushCompress::Sync)
                .expect("compressing into memory does not fail");
            input = &input[(self.0.total_in() - read) as usize..];
            if input.is_empty() && out.len() < out.capacity() {
                return out;
            }
        }
    }
}

fn pairs(mut block: &[u8]) -> Result<Headers, SpdyError> {
    let count = number(&mut block)?;
    if count > PAIRS_MAX {
        return Err(SpdyError("a header block has too many pairs"));
    }
    (0..count)
        .map(|_| Ok((text(&mut block)?.to_lowercase(), text(&mut block)?)))
        .collect()
}

fn number(block: &mut &[u8]) -> Result<usize, SpdyError> {
    let (head, rest) = block
        .split_first_chunk::<4>()
        .ok_or(SpdyError("a header block ends early"))?;
    *block = rest;
    Ok(u32::from_be_bytes(*head) as usize)
}

fn text(block: &mut &[u8]) -> Result<String, SpdyError> {
    let length = number(block)?;
    let (head, rest) = block
        .split_at_checked(length)
        .ok_or(SpdyError("a header block ends early"))?;
    *block = rest;
    Ok(String::from_utf8_lossy(head).into_owned())
}

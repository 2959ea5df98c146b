//! The protobuf wire: tags, varints and length-delimited blocks. Knows no message.

/// How a field's bytes are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire<'a> {
    /// Type 0.
    Varint(u64),
    /// Type 1.
    Fixed64(u64),
    /// Type 2.
    Bytes(&'a [u8]),
    /// Type 5.
    Fixed32(u32),
}

/// Reads the fields of one message.
pub(super) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// The next tag and its content, `Ok(None)` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u32, Wire<'a>)>, &'static str> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let head = self.varint()?;
        let tag = u32::try_from(head >> 3).map_err(|_| "tag too large")?;
        if tag == 0 {
            return Err("illegal tag 0");
        }
        let wire = match head & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Fixed64(u64::from_le_bytes(
                self.take(8)?.try_into().expect("took 8"),
            )),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| "length too large")?;
                Wire::Bytes(self.take(length)?)
            }
            5 => Wire::Fixed32(u32::from_le_bytes(
                self.take(4)?.try_into().expect("took 4"),
            )),
            _ => return Err("unknown wire type"),
        };
        Ok(Some((tag, wire)))
    }

    /// One varint.
    pub(super) fn varint(&mut self) -> Result<u64, &'static str> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first().ok_or("unexpected EOF")?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err("integer overflow")
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], &'static str> {
        let (head, rest) = self.0.split_at_checked(length).ok_or("unexpected EOF")?;
        self.0 = rest;
        Ok(head)
    }
}

/// Appends a varint.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Appends a varint field.
pub(crate) fn put_number(out: &mut Vec<u8>, tag: u32, number: u64) {
    put_varint(out, u64::from(tag) << 3);
    put_varint(out, number);
}

/// Appends a 64-bit field.
pub(crate) fn put_fixed(out: &mut Vec<u8>, tag: u32, number: u64) {
    put_varint(out, u64::from(tag) << 3 | 1);
    out.extend(number.to_le_bytes());
}

/// Appends a length-delimited field.
pub(crate) fn put_bytes(out: &mut Vec<u8>, tag: u32, bytes: &[u8]) {
    put_varint(out, u64::from(tag) << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend(bytes);
}

/// Appends a length-delimited field whose content `write` appends.
pub(crate) fn put_block(out: &mut Vec<u8>, tag: u32, write: impl FnOnce(&mut Vec<u8>)) {
    put_varint(out, u64::from(tag) << 3 | 2);
    let start = out.len();
    out.push(0);
    write(out);
    let length = out.len() - start - 1;
    if length < 0x80 {
        out[start] = length as u8;
    } else {
        let mut prefix = Vec::with_capacity(5);
        put_varint(&mut prefix, length as u64);
        out.splice(start..=start, prefix);
    }
}

//! Lists of addresses and networks.

use std::net::IpAddr;

/// Most entries of a list.
const MAX_NETS: usize = 100_000;

/// An address with how many of its bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Net {
    address: IpAddr,
    bits: u8,
}

/// Reads addresses and `address/bits`, separated by commas, blanks or lines; `#` begins a comment.
pub(super) fn parse(list: &[u8]) -> Result<Vec<Net>, String> {
    let text = std::str::from_utf8(list).map_err(|_| "addresses are not ASCII".to_owned())?;
    let mut nets = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        for part in line.split([',', ' ', '\t', '\r']).filter(|part| !part.is_empty()) {
            nets.push(
                one(part).ok_or_else(|| format!("{part} is no address or network, such as 10.0.0.0/8"))?,
            );
        }
    }
    match nets.len() {
        0 => Err("a list without addresses matches nothing; name at least one".to_owned()),
        1..=MAX_NETS => Ok(nets),
        _ => Err(format!("more than {MAX_NETS} addresses")),
    }
}

fn one(part: &str) -> Option<Net> {
    let (address, bits) = part.split_once('/').map_or((part, None), |(address, bits)| (address, Some(bits)));
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.map_or(Some(most), |bits| bits.parse().ok())?;
    (bits <= most).then_some(Net { address, bits })
}

/// Whether the value is an address in one of the networks.
pub(super) fn within(value: &[u8], nets: &[Net]) -> bool {
    let Some(address) = std::str::from_utf8(value).ok().and_then(|text| text.trim().parse::<IpAddr>().ok())
    else {
        return false;
    };
    nets.iter().any(|net| match (net.address, address) {
        (IpAddr::V4(net_address), IpAddr::V4(address)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(net.bits)).unwrap_or(0);
            u32::from(net_address) & mask == u32::from(address) & mask
        }
        (IpAddr::V6(net_address), IpAddr::V6(address)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(net.bits)).unwrap_or(0);
            u128::from(net_address) & mask == u128::from(address) & mask
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_its_networks() {
        let nets = parse(b"10.0.0.0/8, ::1 # own\n192.168.1.1").unwrap();
        for (address, expected) in
            [("10.9.8.7", true), ("::1", true), ("192.168.1.2", false), ("x", false), ("11.0.0.1", false)]
        {
            assert_eq!(within(address.as_bytes(), &nets), expected, "{address}");
        }
        assert!(within(b"9.9.9.9", &parse(b"0.0.0.0/0").unwrap()));
        for bad in ["10.0.0.0/33", "example.org", ""] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}

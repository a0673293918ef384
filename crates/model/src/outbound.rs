//! Where this program may send on its own account: nowhere inside the network it runs in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::Url;

/// Whether notices may be sent to a URL: HTTPS to a public address, unless private ones are allowed.
pub fn check_outbound_url(url: &str, private_addresses: bool) -> Result<(), String> {
    let url = Url::parse(url).map_err(|_| "it is not a URL".to_owned())?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it must not carry a user name or password".to_owned());
    }
    let host = url.host_str().ok_or("it names no host")?;
    match url.scheme() {
        "https" => {}
        "http" if private_addresses => {}
        _ => return Err("it must begin with https://".to_owned()),
    }
    // A literal address is never resolved, so it is judged here; a name when it is resolved.
    let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    if !private_addresses && literal.is_ok_and(|address| !is_public(address)) {
        return Err("its address is not on the public internet".to_owned());
    }
    Ok(())
}

/// Whether an address is on the public internet: not here, not on a private network, nothing special.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_broadcast()
        || address.is_documentation()
        || address.is_multicast()
        || a == 0
        || a >= 240
        // Carrier-grade NAT, protocol assignments, benchmarking, 6to4 relays.
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (18..20).contains(&b))
        || (a == 192 && b == 88 && c == 99);
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(mapped) = address.to_ipv4_mapped() {
        return is_public_v4(mapped);
    }
    let [first, second, ..] = address.segments();
    // Global unicast is 2000::/3; NAT64 (64:ff9b::/96) and everything local lie outside of it.
    let global = first & 0xe000 == 0x2000;
    let documentation = first == 0x2001 && second == 0x0db8 || first & 0xfff0 == 0x3ff0;
    // Teredo and 6to4 carry IPv4 addresses that nobody has judged.
    let tunnel = (first == 0x2001 && second == 0) || first == 0x2002;
    global && !documentation && !tunnel
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_inside_is_reached() {
        for url in [
            "https://127.0.0.1/hook",
            "https://[::1]/",
            "https://10.1.2.3/",
            "https://0.0.0.0/",
            "https://169.254.169.254/latest",
            "https://192.168.0.1:8443/",
            "https://172.16.0.9/",
            "https://[::ffff:10.0.0.1]/",
            "https://[fd00::1]/",
            "https://[fe80::1]/",
            "https://[64:ff9b::a00:1]/",
            "https://100.64.0.1/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://0177.0.0.1/",
            "https://224.0.0.1/",
            "https://[2002:7f00:1::]/",
            "http://example.com/",
            "ftp://example.com/",
            "https://user:word@example.com/",
            "hook",
        ] {
            assert!(check_outbound_url(url, false).is_err(), "{url}");
        }
        for url in ["https://example.com/hook", "https://93.184.215.14/", "https://[2606:4700::1]/"]
        {
            assert_eq!(check_outbound_url(url, false), Ok(()), "{url}");
        }
        assert_eq!(check_outbound_url("http://127.0.0.1:9000/hook", true), Ok(()));
    }
}

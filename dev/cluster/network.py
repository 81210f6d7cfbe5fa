"""The host's side of the pod network: links, sysctls, and cleaning up after it."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from errors import ClusterError
from layout import API_SERVICE_IP, DNS_SERVICE_IP, NODE_IP, NODE_LINK, POD_CIDR, POD_LINK, write

if TYPE_CHECKING:
    from layout import Layout

# Chains and sets of kube-proxy (KUBE-), kube-router (KUBE-, kube-router-) and the CNI plugins (CNI-).
_OURS = re.compile(r"^(KUBE-|CNI-|kube-router-|inet6:KUBE-|inet6:kube-router-)")
_SYSCTLS = {
    "net/ipv4/ip_forward": "without it pods reach nothing",
    "net/bridge/bridge-nf-call-iptables": "without it services and network policies do not work between pods "
    "(kernel module br_netfilter)",
}


def prepare_host(layout: Layout) -> None:
    """Set what pods need from the kernel, give the node its address, and write the CNI configuration."""
    if shutil.which("modprobe"):
        for module in ("br_netfilter", "overlay"):  # often built in; then modprobe fails and nothing is amiss
            subprocess.run(["modprobe", module], capture_output=True)
    for name, why in _SYSCTLS.items():
        setting = Path("/proc/sys") / name
        if not setting.exists() or setting.read_text().strip() != "1":
            try:
                setting.write_text("1")
            except OSError as error:
                raise ClusterError(f"cannot set {setting} to 1 ({error.strerror}): {why}") from error
    if not _link_exists(NODE_LINK):
        _ip("link", "add", NODE_LINK, "type", "bridge")
    _ip("link", "set", NODE_LINK, "up")
    _ip("address", "replace", f"{NODE_IP}/32", "dev", NODE_LINK)
    write(layout.state / "cni" / "net.d" / "10-windtunnel.conflist", json.dumps(_cni(layout), indent=1))
    write(layout.state / "resolv.conf", "".join(f"nameserver {ip}\n" for ip in upstream_nameservers()))


def _cni(layout: Layout) -> dict[str, Any]:
    return {
        "cniVersion": "1.0.0",
        "name": "windtunnel",
        "plugins": [
            {
                "type": "bridge",
                "bridge": POD_LINK,
                "isGateway": True,
                "ipMasq": True,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": POD_CIDR}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                    # Leases live and die with the cluster.
                    "dataDir": str(layout.state / "cni" / "leases"),
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def upstream_nameservers(text: str | None = None) -> list[str]:
    """The machine's nameservers that a pod can reach too: not those on the machine's own loopback."""
    if text is None:
        # systemd-resolved keeps the real ones beside its stub.
        files = (Path("/run/systemd/resolve/resolv.conf"), Path("/etc/resolv.conf"))
        text = next((file.read_text() for file in files if file.exists()), "")
    found = re.findall(r"^\s*nameserver\s+(\S+)", text, re.MULTILINE)
    return [address for address in found if not address.startswith("127.") and address != "::1"][:3]


def dns_answers() -> bool:
    """Whether cluster DNS resolves the API's service: proves DNS pod, service routing and the API at once."""
    name = b"".join(bytes([len(part)]) + part for part in b"kubernetes.default.svc.cluster.local".split(b"."))
    # RFC 1035: id, recursion desired, one question; then the name, type A, class IN.
    query = bytes.fromhex("000101000001000000000000") + name + bytes.fromhex("0000010001")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(1)
        try:
            client.sendto(query, (DNS_SERVICE_IP, 53))
            answer = client.recv(512)
        except OSError:
            return False
    return socket.inet_aton(API_SERVICE_IP) in answer


def remove_network() -> list[str]:
    """Take away links, packet filter rules and sets; returns what was removed, for people."""
    removed = []
    for link in [*_links_of(POD_LINK), POD_LINK, NODE_LINK]:
        if _link_exists(link):
            # The kernel removes a dead pod's link by itself at some moment, which may be this one.
            done = subprocess.run(["ip", "link", "delete", link], text=True, capture_output=True)
            if _link_exists(link):
                raise ClusterError(f"cannot remove the link {link}: {done.stderr.strip()}")
            removed.append(f"link {link}")
    for family in ("iptables", "ip6tables"):
        script, count = cleaning_script(_output([f"{family}-save"]))
        if count:
            _run([f"{family}-restore", "--noflush"], script)
            removed.append(f"{count} {family} chains")
    sets = [name for name in _output(["ipset", "list", "-name"]).split() if _OURS.match(name)]
    # A set may hold another: those that are refused go in the second round.
    for name in sets + sets:
        subprocess.run(["ipset", "destroy", name], capture_output=True)
    if sets:
        removed.append(f"{len(sets)} ipsets")
    return removed


def cleaning_script(saved: str) -> tuple[str, int]:
    """Turn the output of `iptables-save` into input for `iptables-restore --noflush` that removes our chains.

    Rules of others are left alone; every table changes in one transaction. Returns the script and the number
    of chains.
    """
    script: list[str] = []
    count = 0
    for table in re.split(r"^\*", saved, flags=re.MULTILINE)[1:]:
        lines = table.splitlines()
        chains = [c for c in re.findall(r"^:(\S+)", table, re.MULTILINE) if _OURS.match(c)]
        jumps = [line for line in lines if line.startswith("-A ") and _is_ours_in_foreign_chain(line)]
        if not chains and not jumps:
            continue
        count += len(chains)
        script.append(f"*{lines[0]}")
        script += [f"-D {line.removeprefix('-A ')}" for line in jumps]
        script += [f"-F {chain}" for chain in chains]
        script += [f"-X {chain}" for chain in chains]
        script.append("COMMIT")
    return "".join(f"{line}\n" for line in script), count


def _is_ours_in_foreign_chain(rule: str) -> bool:
    """Whether a rule jumps from a built-in chain into one of ours, or accepts what kube-router has marked."""
    if _OURS.match(rule.split()[1]):
        return False
    target = re.search(r" -[jg] (\S+)", rule)
    return bool(target and _OURS.match(target[1])) or '--comment "KUBE-ROUTER rule ' in rule


def _links_of(bridge: str) -> list[str]:
    """The host's ends of pods' links."""
    listed = _output(["ip", "-json", "link", "show", "master", bridge])
    return [link["ifname"] for link in json.loads(listed or "[]") if link]


def _link_exists(name: str) -> bool:
    return Path("/sys/class/net", name).exists()


def _ip(*arguments: str) -> None:
    _run(["ip", *arguments])


def _run(command: list[str], stdin: str = "") -> None:
    done = subprocess.run(command, input=stdin, text=True, capture_output=True)
    if done.returncode != 0:
        raise ClusterError(f"{' '.join(command)} failed: {done.stderr.strip()}")


def _output(command: list[str]) -> str:
    if not shutil.which(command[0]):
        return ""
    return subprocess.run(command, text=True, capture_output=True).stdout

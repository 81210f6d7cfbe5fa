from __future__ import annotations

from network import cleaning_script, upstream_nameservers

SAVED = """\
*nat
:PREROUTING ACCEPT [0:0]
:DOCKER - [0:0]
:KUBE-SERVICES - [0:0]
:CNI-0123 - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A KUBE-SERVICES -d 10.96.0.1/32 -j CNI-0123
COMMIT
*filter
:INPUT ACCEPT [0:0]
-A INPUT -m comment --comment "KUBE-ROUTER rule to ACCEPT traffic" -m mark --mark 0x20000/0x20000 -j ACCEPT
-A INPUT -p tcp --dport 22 -j ACCEPT
COMMIT
*mangle
:INPUT ACCEPT [0:0]
COMMIT
"""


def test_cleaning_removes_the_clusters_chains_and_every_rule_that_leads_to_them() -> None:
    script, chains = cleaning_script(SAVED)
    assert chains == 2
    assert script.splitlines() == [
        "*nat",
        '-D PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
        "-F KUBE-SERVICES",
        "-F CNI-0123",
        "-X KUBE-SERVICES",
        "-X CNI-0123",
        "COMMIT",
        "*filter",
        '-D INPUT -m comment --comment "KUBE-ROUTER rule to ACCEPT traffic"'
        " -m mark --mark 0x20000/0x20000 -j ACCEPT",
        "COMMIT",
    ]


def test_cleaning_leaves_a_machine_without_a_cluster_alone() -> None:
    assert cleaning_script("*nat\n:DOCKER - [0:0]\n-A PREROUTING -j DOCKER\nCOMMIT\n") == ("", 0)


def test_pods_are_not_given_nameservers_on_the_machines_loopback() -> None:
    text = "# comment\nnameserver 127.0.0.53\nnameserver 192.0.2.1\nsearch example.com\nnameserver ::1\n"
    assert upstream_nameservers(text) == ["192.0.2.1"]

package testkit

import "testing"

// NewHost makes a network namespace that is quiet and plain, whatever the machine's own settings are: no reverse path
// filter, no forwarding, and devices created in it come up without DAD or router solicitations.
func NewHost(t testing.TB, label string) *NS {
	t.Helper()
	Need(t, Tc)
	n := NewNS(t, label)
	n.plainIPv4()
	n.quietIPv6()
	return n
}

// Forward lets the namespace route both families.
func (n *NS) Forward() {
	n.t.Helper()
	n.Sysctl("net/ipv4/ip_forward", "1")
	n.Sysctl("net/ipv6/conf/all/forwarding", "1")
}

// IP runs ip(8) commands as one batch, one a line without the leading "ip".
func (n *NS) IP(lines string) {
	n.t.Helper()
	n.ipBatch(lines)
}

package plan_test

import "strings"

// construct is something that a rule of a netdev chain may have, in a rule. Stateful ones ask for more than the packet
// and its device, or do more than decide about it.
type construct struct {
	group, rule string
	stateful    bool
}

// constructs are what nft(8) has for netdev chains: EXPRESSIONS, STATEMENTS, and the operators of each kind of value.
// A line that begins with "!" is stateful.
func constructs() []construct {
	var out []construct
	group := ""
	for line := range strings.Lines(constructList()) {
		line = strings.TrimSpace(line)
		name, isGroup := strings.CutPrefix(line, "# ")
		rule, stateful := strings.CutPrefix(line, "! ")
		switch {
		case line == "":
		case isGroup:
			group = name
		default:
			out = append(out, construct{group, rule, stateful})
		}
	}
	return out
}

func constructList() string {
	return headerConstructs() + transportConstructs() + otherConstructs() + statementConstructs()
}

func headerConstructs() string {
	return `
# Link header
ether saddr 02:00:00:00:00:01 drop
ether daddr != 02:00:00:00:00:01 drop
ether daddr & 01:00:00:00:00:00 == 01:00:00:00:00:00 drop
ether type arp drop
ether type ip tcp dport 80 drop
vlan id 10 drop
vlan id { 10, 20 } drop
vlan id 10-20 drop
vlan pcp 3 drop
vlan dei 1 drop
vlan type ip drop
vlan id 10 ip saddr 192.0.2.1 drop
ether type 8021ad vlan id 10 drop
ether type 8021ad vlan id 10 vlan type 8021q vlan id 20 drop
ether type 8021ad vlan id 10 vlan type 8021q vlan id 20 ip saddr 192.0.2.1 drop
# ARP
arp htype 1 drop
arp ptype ip drop
arp hlen 6 drop
arp plen 4 drop
arp operation request drop
arp saddr ether 02:00:00:00:00:01 drop
arp daddr ip 192.0.2.1 drop
# IPv4
ip version 4 drop
ip hdrlength > 5 drop
ip dscp ef drop
ip dscp { cs1, cs2 } drop
ip ecn ce drop
ip length > 1000 drop
ip id 1 drop
ip frag-off & 0x1fff != 0 drop
ip frag-off & 0x2000 != 0 drop
ip ttl < 5 drop
ip protocol tcp drop
ip protocol { tcp, udp } drop
ip checksum 1 drop
ip saddr 192.0.2.1 drop
ip saddr != 192.0.2.1 drop
ip saddr 192.0.2.0/24 drop
ip saddr 192.0.2.0/25 drop
ip saddr != 192.0.2.0/24 drop
ip saddr 192.0.2.1-192.0.2.9 drop
ip saddr != 192.0.2.1-192.0.2.9 drop
ip saddr & 0.0.0.255 == 1 drop
ip daddr { 192.0.2.1, 198.51.100.0/24 } drop
ip daddr != { 192.0.2.1, 198.51.100.0/24 } drop
ip option rr exists drop
ip option lsrr ptr 4 drop
# IPv6
ip6 version 6 drop
ip6 dscp ef drop
ip6 ecn ce drop
ip6 flowlabel 5 drop
ip6 length > 1000 drop
ip6 nexthdr tcp drop
ip6 hoplimit < 5 drop
ip6 saddr 2001:db8::1 drop
ip6 saddr 2001:db8::/32 drop
ip6 saddr 2001:db8::/33 drop
ip6 daddr { 2001:db8::1, 2001:db8:1::/48 } drop
exthdr hbh exists drop
exthdr frag exists drop
hbh nexthdr tcp drop
rt type 0 drop
rt0 addr[1] 2001:db8::1 drop
srh flags 1 drop
frag more-fragments 1 drop
frag frag-off 0 drop
dst nexthdr tcp drop
mh type 1 drop
`
}

func transportConstructs() string {
	return `
# TCP
tcp sport 80 drop
tcp dport != 80 drop
tcp dport 1000-2000 drop
tcp dport > 1024 drop
tcp dport { 22, 80, 1000-2000 } drop
tcp sport 1 tcp dport 2 drop
tcp sport != 1 tcp dport != 2 drop
tcp sequence 1 drop
tcp ackseq 1 drop
tcp doff > 5 drop
tcp reserved 0 drop
tcp flags syn drop
tcp flags != syn drop
tcp flags == 0 drop
tcp flags ! syn drop
tcp flags & (syn | ack) == syn drop
tcp flags & (fin | syn) == (fin | syn) drop
tcp flags & (fin | syn | rst | ack) == { syn, rst } drop
tcp flags { syn, syn | ack } drop
tcp window 0 drop
tcp checksum 1 drop
tcp urgptr 1 drop
tcp option maxseg exists drop
tcp option maxseg size < 500 drop
tcp option window count 7 drop
tcp option sack-perm exists drop
tcp option timestamp tsval 1 drop
# UDP and others
udp sport 53 drop
udp dport { 53, 123 } drop
udp length < 20 drop
udp checksum 0 drop
udplite csumcov 8 drop
sctp dport 80 drop
sctp vtag 1 drop
sctp checksum 1 drop
sctp chunk data exists drop
sctp chunk init num-outbound-streams 1 drop
dccp dport 80 drop
dccp type request drop
ah spi 1 drop
ah sequence 1 drop
esp spi 1 drop
esp sequence 1 drop
comp cpi 1 drop
th dport 53 drop
meta l4proto { tcp, udp } th dport 53 drop
igmp type membership-query drop
# ICMP
icmp type echo-request drop
icmp type { echo-request, redirect } drop
icmp code 1 drop
icmp checksum 1 drop
icmp id 1 drop
icmp sequence 1 drop
icmp gateway 1 drop
icmp mtu 1400 drop
icmpv6 type nd-neighbor-solicit drop
icmpv6 code 1 drop
icmpv6 id 1 drop
icmpv6 mtu 1400 drop
icmpv6 param-problem 1 drop
icmpv6 max-delay 1 drop
`
}

func otherConstructs() string {
	return `
# Raw payload and bits
@ll,48,48 0x020000000001 drop
@nh,96,32 0xc0000201 drop
@nh,64,128 0x1 drop
@th,16,16 80 drop
@th,3,5 5 drop
@th,160,32 0x1 drop
@ih,0,32 0x1 drop
ip ttl & 1 == 1 drop
tcp dport & 0xff == 80 drop
tcp dport & 0xff00 != 0 drop
tcp dport ^ 0xff == 80 drop
tcp dport | 1 == 81 drop
ip dscp & 0x3c == 0x04 drop
# Meta
meta protocol ip drop
meta protocol { ip, ip6 } drop
meta l4proto tcp drop
meta length > 100 drop
meta length 60-100 drop
meta pkttype broadcast drop
meta pkttype multicast drop
meta pkttype != host drop
meta iif "eth0" drop
meta iifname "eth0" drop
meta iifname "eth*" drop
meta iiftype ether drop
meta iifgroup 0 drop
meta iifkind "vlan" drop
! meta mark 1 drop
! meta priority 1 drop
! meta cpu 0 drop
! meta skuid 0 drop
! meta skgid 0 drop
! meta cgroup 1 drop
! meta rtclassid 1 drop
! meta random 1 drop
! meta time > "2030-01-01 00:00:00" drop
! meta day "Sunday" drop
! meta hour "10:00"-"12:00" drop
! numgen inc mod 2 0 drop
! numgen random mod 2 0 drop
jhash ip saddr mod 2 0 drop
! symhash mod 2 0 drop
# Sets, concatenations and maps
tcp dport @ports drop
tcp dport != @ports drop
ip saddr @nets drop
ip saddr @waits drop
! ip saddr @seen drop
ip saddr . tcp dport @pairs drop
ip saddr . tcp dport { 192.0.2.1 . 80, 192.0.2.0/28 . 1-10 } drop
ip saddr . ip daddr != { 192.0.2.1 . 192.0.2.2 } drop
ip6 saddr . udp dport { 2001:db8::1 . 53 } drop
iifname . tcp dport { "eth0" . 80 } drop
ether saddr . ip saddr { 02:00:00:00:00:01 . 192.0.2.1 } drop
meta l4proto . th dport { tcp . 53, udp . 53 } drop
tcp dport vmap { 22 : accept, 23 : drop, 24-30 : continue, * : return }
ip saddr . tcp dport vmap { 192.0.2.1 . 22 : drop }
tcp dport vmap { 22 : jump other, 23 : goto other }
tcp dport vmap @verdicts
tcp dport vmap @jumps
tcp dport vmap @fixed
`
}

func statementConstructs() string {
	return `
# Verdicts
accept
drop
counter continue
return
jump other
goto other
ip saddr 192.0.2.1 counter drop
counter ip saddr 192.0.2.1 drop
counter
# Statements
fwd to "eth1"
fwd to ip saddr map { 192.0.2.1 : "eth1", 192.0.2.2 : "eth0" }
fwd to ip saddr map @ways
! fwd ip to 192.0.2.1 device "eth1"
dup to "eth1"
! counter name "total" drop
! quota over 1 mbytes drop
! quota name "much" drop
! limit rate 10/second drop
! limit name "some" drop
! log prefix "x" drop
! meta mark set 1
! meta pkttype set host
! meta nftrace set 1
! ip ttl set 1
! tcp dport set 80
! ether saddr set 02:00:00:00:00:01
! tcp option maxseg size set 1400
! add @seen { ip saddr }
! update @seen { ip saddr limit rate 10/second } drop
! meter m { ip saddr limit rate 10/second } drop
`
}

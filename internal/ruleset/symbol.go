package ruleset

import (
	"strconv"
	"strings"
	"time"
)

// Symbol returns the number that a name stands for in a datatype, as nft(8), DATA TYPES, has them.
func Symbol(datatype, name string) (uint64, bool) {
	fields := strings.Fields(symbols(datatype))
	for i := 0; i+1 < len(fields); i += 2 {
		if fields[i] == name {
			n, err := strconv.ParseUint(fields[i+1], 0, 64)
			return n, err == nil
		}
	}
	return 0, false
}

// SymbolName returns the name of a number in a datatype, as nft prints it; of several, the first.
func SymbolName(datatype string, n uint64) (string, bool) {
	fields := strings.Fields(symbols(datatype))
	for i := 0; i+1 < len(fields); i += 2 {
		if m, err := strconv.ParseUint(fields[i+1], 0, 64); err == nil && m == n {
			return fields[i], true
		}
	}
	return "", false
}

// symbols are the names of a datatype, each with its number behind it.
func symbols(datatype string) string {
	switch datatype {
	case "ct_state":
		return "invalid 0x1 new 0x8 established 0x2 related 0x4 untracked 0x40"
	case "ct_status":
		return "expected 0x1 seen-reply 0x2 assured 0x4 confirmed 0x8 snat 0x10 dnat 0x20 dying 0x200"
	case "ct_dir":
		return "original 0 reply 1"
	case "ct_event":
		return "new 0x1 related 0x2 destroy 0x4 reply 0x8 assured 0x10 protoinfo 0x20 helper 0x40 mark 0x80 " +
			"seqadj 0x100 secmark 0x200 label 0x400"
	case "tcp_flag":
		return "fin 0x01 syn 0x02 rst 0x04 psh 0x08 ack 0x10 urg 0x20 ecn 0x40 cwr 0x80"
	case "pkt_type":
		return "host 0 unicast 0 broadcast 1 multicast 2 other 3"
	case "fib_addrtype":
		return "unspec 0 unicast 1 local 2 broadcast 3 anycast 4 multicast 5 blackhole 6 unreachable 7 prohibit 8"
	case "boolean":
		return "exists 1 missing 0 true 1 false 0"
	case "day":
		return "Sunday 0 Monday 1 Tuesday 2 Wednesday 3 Thursday 4 Friday 5 Saturday 6"
	case "nf_proto":
		return "ipv4 2 ipv6 10"
	case "iface_type":
		return "ether 1 ppp 512 ipip 768 ipip6 769 loopback 772 sit 776 ipgre 778"
	case "devgroup", "realm":
		return "default 0"
	}
	return headerSymbols(datatype)
}

// headerSymbols are the names of values in headers.
func headerSymbols(datatype string) string {
	switch datatype {
	case "ether_type":
		return "ip 0x0800 arp 0x0806 ip6 0x86dd 8021q 0x8100 8021ad 0x88a8 vlan 0x8100"
	case "arp_op":
		return "request 1 reply 2 rrequest 3 rreply 4 inrequest 8 inreply 9 nak 10"
	case "dscp":
		return "cs0 0 cs1 8 cs2 16 cs3 24 cs4 32 cs5 40 cs6 48 cs7 56 df 0 be 0 lephb 1 af11 10 af12 12 af13 14 af21 18 " +
			"af22 20 af23 22 af31 26 af32 28 af33 30 af41 34 af42 36 af43 38 va 44 ef 46"
	case "ecn":
		return "not-ect 0 ect1 1 ect0 2 ce 3" //nolint:misspell // ECN-capable transport (RFC 3168)
	case "icmp_type":
		return "echo-reply 0 destination-unreachable 3 source-quench 4 redirect 5 echo-request 8 router-advertisement 9 " +
			"router-solicitation 10 time-exceeded 11 parameter-problem 12 timestamp-request 13 timestamp-reply 14 " +
			"info-request 15 info-reply 16 address-mask-request 17 address-mask-reply 18"
	case "icmpv6_type":
		return "destination-unreachable 1 packet-too-big 2 time-exceeded 3 parameter-problem 4 echo-request 128 echo-reply 129 " +
			"mld-listener-query 130 mld-listener-report 131 mld-listener-done 132 mld-listener-reduction 132 " +
			"nd-router-solicit 133 nd-router-advert 134 nd-neighbor-solicit 135 nd-neighbor-advert 136 nd-redirect 137 " +
			"router-renumbering 138 ind-neighbor-solicit 141 ind-neighbor-advert 142 mld2-listener-report 143"
	case "icmp_code":
		return "net-unreachable 0 host-unreachable 1 prot-unreachable 2 port-unreachable 3 frag-needed 4 net-prohibited 9 " +
			"host-prohibited 10 admin-prohibited 13"
	case "icmpv6_code":
		return "no-route 0 admin-prohibited 1 addr-unreachable 3 port-unreachable 4 policy-fail 5 reject-route 6"
	case "icmpx_code":
		return "no-route 0 port-unreachable 1 host-unreachable 2 admin-prohibited 3"
	case "igmp_type":
		return "membership-query 17 membership-report-v1 18 membership-report-v2 22 leave-group 23 membership-report-v3 34"
	case "dccp_pkttype":
		return "request 0 response 1 data 2 ack 3 dataack 4 closereq 5 close 6 reset 7 sync 8 syncack 9"
	case "mh_type":
		return "binding-refresh-request 0 home-test-init 1 careof-test-init 2 home-test 3 careof-test 4 binding-update 5 " +
			"binding-acknowledgement 6 binding-error 7 fast-binding-update 8 fast-binding-acknowledgement 9 " +
			"fast-binding-advertisement 10 experimental-mobility-header 11 home-agent-switch-message 12"
	case "inet_proto":
		return protocolNames()
	case "inet_service":
		return serviceNames()
	}
	return ""
}

// protocolNames are the names of Debian's /etc/protocols, which nft asks the C library for, and nft's own "icmpv6".
func protocolNames() string {
	return "ip 0 icmp 1 igmp 2 ggp 3 ipencap 4 st 5 tcp 6 egp 8 igp 9 pup 12 udp 17 hmp 20 xns-idp 22 rdp 27 iso-tp4 29 " +
		"dccp 33 xtp 36 ddp 37 idpr-cmtp 38 ipv6 41 ipv6-route 43 ipv6-frag 44 idrp 45 rsvp 46 gre 47 esp 50 ah 51 skip 57 " +
		"ipv6-icmp 58 icmpv6 58 ipv6-nonxt 59 ipv6-opts 60 rspf 73 vmtp 81 eigrp 88 ospf 89 ospfigp 89 ax.25 93 ipip 94 " +
		"etherip 97 encap 98 pim 103 ipcomp 108 comp 108 vrrp 112 l2tp 115 isis 124 sctp 132 fc 133 mobility-header 135 " +
		"udplite 136 mpls-in-ip 137 manet 138 hip 139 shim6 140 wesp 141 rohc 142 ethernet 143"
}

// serviceNames are a few names of /etc/services: nft prints numbers unless it is asked for names, but people write them.
func serviceNames() string {
	return "ftp-data 20 ftp 21 ssh 22 telnet 23 smtp 25 domain 53 bootps 67 bootpc 68 tftp 69 http 80 kerberos 88 pop3 110 " +
		"sunrpc 111 ntp 123 netbios-ns 137 netbios-dgm 138 netbios-ssn 139 imap2 143 snmp 161 snmp-trap 162 bgp 179 ldap 389 " +
		"https 443 microsoft-ds 445 submissions 465 isakmp 500 syslog 514 printer 515 dhcpv6-client 546 dhcpv6-server 547 " +
		"submission 587 ipp 631 ldaps 636 domain-s 853 rsync 873 imaps 993 pop3s 995 openvpn 1194 radius 1812 " +
		"radius-acct 1813 nfs 2049 mysql 3306 ms-wbt-server 3389 ipsec-nat-t 4500 sip 5060 xmpp-client 5222 mdns 5353 " +
		"postgresql 5432 redis 6379 http-alt 8080"
}

// hour is a time of day in seconds. nft prints the local one and the kernel compares UTC: here it is taken for UTC.
func hour(s string, t Type) ([]byte, bool) {
	for _, layout := range []string{"15:04:05", "15:04"} {
		if at, err := time.Parse(layout, s); err == nil {
			return bigEndian(uint64(at.Hour()*3600+at.Minute()*60+at.Second()), t)
		}
	}
	return nil, false
}

// date is a point in time in nanoseconds, taken for UTC as an hour is.
func date(s string, t Type) ([]byte, bool) {
	for _, layout := range []string{"2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"} {
		if at, err := time.Parse(layout, s); err == nil && at.Unix() >= 0 {
			return bigEndian(uint64(at.UnixNano()), t)
		}
	}
	return nil, false
}

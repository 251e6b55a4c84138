package ruleset_test

import (
	"encoding/hex"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/nft-offload/nft-offload/internal/ruleset"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

func TestConstant(t *testing.T) {
	named := func(name string) ruleset.Type {
		typ, ok := ruleset.NamedType(name)
		if !ok {
			t.Fatalf("no datatype %s", name)
		}
		return typ
	}
	dscp := ruleset.Type{Name: "dscp", Bits: 6}
	flow := ruleset.Type{Name: "integer", Bits: 20}
	long := ruleset.Type{Name: "integer", Bits: 128}
	for _, c := range []struct {
		e    ruleset.Expr
		t    ruleset.Type
		want string // value, "/mask", "-last"; "no" for none
	}{
		{ruleset.Num(443), named("inet_service"), "01bb"},
		{ruleset.Num(65536), named("inet_service"), "no"},
		{ruleset.Str("ssh"), named("inet_service"), "0016"},
		{ruleset.Str("10.0.0.1"), named("ipv4_addr"), "0a000001"},
		{ruleset.Str("example.org"), named("ipv4_addr"), "no"},
		{ruleset.Str("fe80::1"), named("ipv6_addr"), "fe800000000000000000000000000001"},
		{ruleset.Str("fe80::1"), named("ipv4_addr"), "no"},
		{ruleset.Prefix{Addr: ruleset.Str("10.0.16.0"), Len: 20}, named("ipv4_addr"), "0a001000/fffff000"},
		{ruleset.Prefix{Addr: ruleset.Str("::"), Len: 0}, named("ipv6_addr"), "00000000000000000000000000000000/00000000000000000000000000000000"},
		{ruleset.Prefix{Addr: ruleset.Str("10.0.0.0"), Len: 33}, named("ipv4_addr"), "no"},
		{ruleset.Range{From: ruleset.Num(80), To: ruleset.Num(90)}, named("inet_service"), "0050-005a"},
		{ruleset.Str("02:00:00:00:00:0a"), named("ether_addr"), "02000000000a"},
		{ruleset.Str("02:00:00:00:00"), named("ether_addr"), "no"},
		{ruleset.Str("tcp"), named("inet_proto"), "06"},
		{ruleset.Str("icmpv6"), named("inet_proto"), "3a"},
		{ruleset.Str("ip6"), named("ether_type"), "86dd"},
		{ruleset.Num(0x8863), named("ether_type"), "8863"},
		{ruleset.List{ruleset.Str("established"), ruleset.Str("related")}, named("ct_state"), "00000006"},
		{ruleset.Binary{Op: "|", Operands: []ruleset.Expr{ruleset.Str("fin"), ruleset.Str("syn"), ruleset.Str("ack")}}, named("tcp_flag"), "13"},
		{ruleset.Binary{Op: "<<", Operands: []ruleset.Expr{ruleset.Num(3), ruleset.Num(4)}}, named("mark"), "00000030"},
		{ruleset.Str("ef"), dscp, "2e"},
		{ruleset.Num(64), dscp, "no"},
		{ruleset.Num(0x12345), flow, "012345"},
		{ruleset.Str("0xffffffffffffffffffff"), long, "000000000000ffffffffffffffffffff"},
		{ruleset.Str("0x40"), dscp, "no"},
		{ruleset.Num(127), named("ct_label"), "80000000000000000000000000000000"},
		{ruleset.Num(128), named("ct_label"), "no"},
		{ruleset.Str("eth0"), named("ifname"), "65746830000000000000000000000000"},
		{ruleset.Str("eth*"), named("ifname"), "65746800000000000000000000000000/ffffff00000000000000000000000000"},
		{ruleset.Str("eth0"), named("iface_index"), "no"},
		{ruleset.Num(1), named("mark"), "00000001"},
		{ruleset.Str("1:10"), named("classid"), "00010010"},
		{ruleset.Str("Monday"), named("day"), "01"},
		{ruleset.Str("17:00"), named("hour"), "0000ef10"},
		{ruleset.Bool(true), named("boolean"), "01"},
		{ruleset.Num(60), ruleset.Type{Name: "time", Bits: 32}, "0000ea60"},
		{ruleset.Meta{Key: "mark"}, named("mark"), "no"},
	} {
		got := "no"
		if k, ok := ruleset.Constant(c.e, c.t); ok {
			got = hex.EncodeToString(k.Value)
			if k.Mask != nil {
				got += "/" + hex.EncodeToString(k.Mask)
			}
			if k.Last != nil {
				got += "-" + hex.EncodeToString(k.Last)
			}
		}
		if got != c.want {
			t.Errorf("%v as %s: got %s, want %s", c.e, c.t.Name, got, c.want)
		}
	}
}

// described are selectors in nft's syntax with their values here.
func described() map[string]ruleset.Expr {
	all := map[string]ruleset.Expr{
		"fib saddr oif": ruleset.FIB{Result: "oif"}, "fib saddr type": ruleset.FIB{Result: "type"},
		"numgen inc mod 2": ruleset.Generator{Kind: "numgen"}, "socket mark": ruleset.Other{Kind: "socket", Key: "mark"},
		"socket transparent": ruleset.Other{Kind: "socket", Key: "transparent"}, "osf name": ruleset.Other{Kind: "osf", Key: "name"},
		"ipsec in reqid": ruleset.Other{Kind: "ipsec", Key: "reqid"}, "@th,16,32": ruleset.RawPayload{Base: "th", Offset: 16, Len: 32},
		"rt ip6 nexthop": ruleset.RT{Key: "nexthop", Family: "ip6"}, "rt classid": ruleset.RT{Key: "classid"}, "rt mtu": ruleset.RT{Key: "mtu"},
		"ct original ip saddr": ruleset.CT{Key: "ip saddr", Dir: "original"}, "ct original protocol": ruleset.CT{Key: "protocol", Dir: "original"},
		"tcp option maxseg size":   ruleset.Option{Kind: "tcp option", Name: "maxseg", Field: "size"},
		"tcp option sack2 right":   ruleset.Option{Kind: "tcp option", Name: "sack2", Field: "right"},
		"tcp option mptcp subtype": ruleset.Option{Kind: "tcp option", Name: "mptcp", Field: "subtype"},
		"ip option lsrr ptr":       ruleset.Option{Kind: "ip option", Name: "lsrr", Field: "ptr"},
		"ip option ra value":       ruleset.Option{Kind: "ip option", Name: "ra", Field: "value"},
		"sctp chunk data tsn":      ruleset.Option{Kind: "sctp chunk", Name: "data", Field: "tsn"},
	}
	for k := range strings.FieldsSeq("length protocol nfproto l4proto priority mark iif iifname iiftype oif oifname oiftype skuid " +
		"skgid nftrace rtclassid ibrname obrname pkttype cpu iifgroup oifgroup cgroup random secpath iifkind oifkind ibrpvid " +
		"ibrvproto time day hour secmark sdif sdifname") {
		all["meta "+k] = ruleset.Meta{Key: k}
	}
	for k := range strings.FieldsSeq("state direction status mark expiration helper l3proto label bytes packets avgpkt zone event secmark id") {
		all["ct "+k] = ruleset.CT{Key: k}
	}
	for proto, fields := range map[string]string{
		"ether": "saddr daddr type", "vlan": "id dei pcp type", "arp": "htype ptype hlen plen operation",
		"ip":  "version hdrlength dscp ecn length id frag-off ttl protocol checksum saddr daddr",
		"ip6": "version dscp ecn flowlabel length nexthdr hoplimit saddr daddr",
		"tcp": "sport dport sequence ackseq doff reserved flags window checksum urgptr", "udp": "sport dport length checksum",
		"udplite": "sport csumcov checksum", "sctp": "sport vtag checksum", "dccp": "sport type", "th": "sport dport",
		"ah": "nexthdr hdrlength reserved spi sequence", "esp": "spi sequence", "comp": "nexthdr flags cpi",
		"icmp": "type code checksum id sequence mtu gateway", "icmpv6": "type code checksum mtu id sequence max-delay",
		"igmp": "type mrt checksum group",
	} {
		for f := range strings.FieldsSeq(fields) {
			all[proto+" "+f] = ruleset.Payload{Proto: proto, Field: f}
		}
	}
	all["arp saddr ether"] = ruleset.Payload{Proto: "arp", Field: "saddr ether"}
	all["arp daddr ip"] = ruleset.Payload{Proto: "arp", Field: "daddr ip"}
	for name, fields := range map[string]string{
		"hbh": "nexthdr hdrlength", "rt": "nexthdr type seg-left", "rt0": "addr[1]", "srh": "last-entry flags tag sid[1]",
		"frag": "nexthdr reserved frag-off reserved2 more-fragments id", "dst": "hdrlength", "mh": "type reserved checksum",
	} {
		for f := range strings.FieldsSeq(fields) {
			all[name+" "+f] = ruleset.Exthdr{Name: name, Field: f}
		}
	}
	return all
}

// TestTypeOfIsWhatNftDescribes asks nft for the datatype and length of every selector.
func TestTypeOfIsWhatNftDescribes(t *testing.T) {
	testkit.Need(t, testkit.NFT)
	says := regexp.MustCompile(`datatype (\w+) .*, (\d+) (bits|characters)`)
	for text, e := range described() {
		out, err := exec.Command("nft", append([]string{"describe"}, strings.Fields(text)...)...).CombinedOutput()
		m := says.FindStringSubmatch(string(out))
		if err != nil || m == nil {
			t.Errorf("nft describe %s: %v %s", text, err, out)
			continue
		}
		bits, err := strconv.Atoi(m[2])
		if err != nil {
			t.Fatal(err)
		}
		if m[3] == "characters" {
			bits *= 8
		}
		typ, ok := ruleset.TypeOf(e, nil)
		if !ok || typ.Name != m[1] || typ.Bits != bits {
			t.Errorf("%s: got %s of %d bits (%v), nft says %s of %d", text, typ.Name, typ.Bits, ok, m[1], bits)
		}
	}
}

// TestSymbolsAreWhatNftDescribes compares the names of every datatype with those nft knows, both ways.
func TestSymbolsAreWhatNftDescribes(t *testing.T) {
	testkit.Need(t, testkit.NFT)
	row := regexp.MustCompile(`(?m)^\t(\S+) +\t? *(0x[0-9a-f]+|\d+)$`)
	for name := range strings.FieldsSeq("ether_type arp_op icmp_type icmpv6_type icmp_code icmpv6_code icmpx_code tcp_flag " +
		"dccp_pkttype mh_type pkt_type ct_state ct_dir ct_status fib_addrtype dscp iface_type nf_proto igmp_type inet_proto day") {
		out, err := exec.Command("nft", "describe", name).CombinedOutput()
		rows := row.FindAllStringSubmatch(string(out), -1)
		if err == nil && rows == nil && strings.HasSuffix(name, "_code") {
			continue // nft 1.1 keeps them to itself
		}
		if err != nil || rows == nil {
			t.Errorf("nft describe %s: %v %s", name, err, out)
			continue
		}
		for _, m := range rows {
			want, err := strconv.ParseUint(m[2], 0, 64)
			if err != nil {
				t.Fatal(err)
			}
			if name == "ether_type" || name == "arp_op" { // shown as they are in memory
				want = want>>8 | want&0xff<<8
			}
			if got, ok := ruleset.Symbol(name, m[1]); !ok || got != want {
				t.Errorf("%s %s: got %d (%v), nft says %d", name, m[1], got, ok, want)
			}
			if back, ok := ruleset.SymbolName(name, want); !ok {
				t.Errorf("%s %d has no name, nft says %s", name, want, m[1])
			} else if n, _ := ruleset.Symbol(name, back); n != want {
				t.Errorf("%s %d is %s, which is %d", name, want, back, n)
			}
		}
	}
}

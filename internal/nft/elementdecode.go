package nft

import (
	"encoding/binary"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/plan/element"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// Attributes and flags of set elements (enum nft_set_elem_attributes, include/uapi/linux/netfilter/nf_tables.h) that x/sys
// does not have.
const (
	elemObjref      = 9  // NFTA_SET_ELEM_OBJREF
	elemKeyEnd      = 10 // NFTA_SET_ELEM_KEY_END
	elemExpressions = 11 // NFTA_SET_ELEM_EXPRESSIONS
)

// decodeElement reads an element's attributes. Its keys stay in b.
func decodeElement(b []byte, now time.Time) element.Element {
	var e element.Element
	for kind, v := range attrs(b) {
		switch kind {
		case unix.NFTA_SET_ELEM_KEY:
			e.First = dataValue(v)
		case elemKeyEnd:
			e.Last = dataValue(v)
		case unix.NFTA_SET_ELEM_DATA:
			e.Verdict, e.Chain = dataVerdict(v)
		case unix.NFTA_SET_ELEM_FLAGS:
			e.End = beUint32(v)&unix.NFT_SET_ELEM_INTERVAL_END != 0
		case unix.NFTA_SET_ELEM_EXPIRATION:
			if len(v) == 8 {
				e.Expires = now.Add(time.Duration(binary.BigEndian.Uint64(v)) * time.Millisecond)
			}
		case unix.NFTA_SET_ELEM_EXPR, elemObjref, elemExpressions:
			e.Stateful = true
		}
	}
	return e
}

// dataValue is the registers in a struct nft_data.
func dataValue(b []byte) []byte {
	for kind, v := range attrs(b) {
		if kind == unix.NFTA_DATA_VALUE {
			return v
		}
	}
	return nil
}

func dataVerdict(b []byte) (ruleset.VerdictKind, string) {
	for kind, v := range attrs(b) {
		if kind == unix.NFTA_DATA_VERDICT {
			return verdict(v)
		}
	}
	return "", ""
}

func verdict(b []byte) (kind ruleset.VerdictKind, chain string) {
	for attr, v := range attrs(b) {
		switch attr {
		case unix.NFTA_VERDICT_CODE:
			kind = verdictKind(int32(beUint32(v)))
		case unix.NFTA_VERDICT_CHAIN:
			chain = string(text(v))
		}
	}
	return kind, chain
}

// verdictKind is nft's name of a verdict. Packets to queues are in the kernel's numbers but not in elements of maps.
func verdictKind(code int32) ruleset.VerdictKind {
	const drop, accept = 0, 1 // NF_DROP, NF_ACCEPT (include/uapi/linux/netfilter.h)
	switch code {
	case drop:
		return ruleset.Drop
	case accept:
		return ruleset.Accept
	case unix.NFT_CONTINUE:
		return ruleset.Continue
	case unix.NFT_RETURN:
		return ruleset.Return
	case unix.NFT_JUMP:
		return ruleset.Jump
	case unix.NFT_GOTO:
		return ruleset.Goto
	}
	return "unknown"
}

// Package tuple keeps concatenations in which several components may be intervals, and single intervals, in one search
// tree (package tree), so that a lookup is few searches.
//
// A tree orders keys, so an interval in one component is one in the tree only if the components before it are single
// values. So one component, the ranged one, comes last in the key, and intervals of the others are split into prefixes. Elements
// whose components have the same prefix lengths are a tuple; a lookup masks the packet's key as the tuple says, puts the
// tuple's number in front and searches; and so on for each tuple. A key of one component needs none of that: it is a
// plain tree.
//
// The masks lie in pages behind the tree's header, one page a tuple, and the second number of the header says how many
// there are. A tuple is written before the first element that needs it is published, and stays when its last element
// goes. Where all are taken, those that are empty get another meaning, after a period of grace.
package tuple

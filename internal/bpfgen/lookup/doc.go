// Package lookup writes the instructions that look a key up in a map: a hash, a tree (package tree) or a tuple space
// (package tuple). It makes no maps: the instructions refer to them by name.
//
// A search of a tree goes from page to page, each an element of an array map, whose lookup the kernel makes instructions
// of. In a page it halves the records without a jump, so that neither the processor guesses wrong nor the verifier has
// more than one way to follow; from page to page it is a loop that the verifier goes round once for each possible
// height. Nothing in it needs a kernel newer than 6.1.
//
// What a lookup costs, on Linux 6.18:
//
//	                                      instructions  the verifier's steps, of 1,000,000 a program
//	hash                                             6             6
//	tree, one word                              90-180       400-700
//	tree, several words                        180-400   2,000-7,000
//	tuples, size not known                     210-320 40,000-75,000
//	tuples, Site.Pages 500, Site.Tuples 4      210-320  3,000-10,000
//	tuples, Site.Pages 30, Site.Tuples 1       210-320     600-1,000
package lookup

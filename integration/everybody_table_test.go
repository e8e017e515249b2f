package integration

import (
	"slices"
	"strings"
)

// everyCall has a set-up and the calls that everybody makes there, each in a directory of its own, separated by |. What is
// separated by ; is one act. The directory and what is made in it are the owner's unless a row says otherwise. A set-up knows
// f (file), d (directory), p (fifo) NAME MODE [UID:GID]; l (symlink) NAME TARGET; h (hard link) NEW OLD; x NAME ATTRIBUTE; cap NAME;
// acl and dacl (default ACL) NAME TEXT; flag NAME FLAG. Where it makes no difference who asks, a few do.
var everyCall = []struct {
	setUp, calls string
	few          bool
}{
	// Opening, by owner, group and others.
	{"f f 600", "open f r|open f w|open f rw|open f wt|open f wa|read f r|access f 4|access f 2|access f 1|access f 0", false},
	{"f f 640", "open f r|open f w|read f r|write f w|open f rN", false},
	{"f f 664", "open f r|write f w|write f wa|write f wt|open f wN|truncate f 3", false},
	{"f f 666", "open f rN|write f w|write f wt|truncate f 3|truncate f 100|utimes f now now", false},
	{"f f 066", "open f r|open f w|access f 4|truncate f 3", false},
	{"f f 606", "open f r|open f w|access f 6", false},
	{"f f 0", "open f r|open f w|open f P|truncate f 0|access f 1|chmod f 600|stat f", false},
	{"f f 755", "access f 1|access f 7", true},
	{"f f 654", "access f 1|access f 5", true},
	{"f f 644 0:0", "open f r|open f w|chmod f 600|chown f 65534:-1|unlink f|utimes f 1 1|utimes f now now|rename f g", false},
	{"p p 600", "open p r|open p wr|stat p|truncate p 0", true},
	{"p p 622", "open p r|open p rw|chmod p 644", false},
	{"f f 644", "open f rd|open f/ r|open f/x r|open f/x wc|stat f/x|mkdir f/x 755|unlink f/x|rmdir f|rename f/x g|open f wcx|open f wc|open f wct", true},
	{"d d 755", "open d r|open d w|open d rc|open d rd|unlink d|rmdir d|rmdir d/|rmdir d/.|rmdir d/..|truncate d 0|read d r|open d wcx|ls d", false},
	// Making entries in directories of several modes.
	{"d d 755", "open d/f wc 666|mkdir d/s 777|symlink x d/l|mknod d/p p 666 0|mknod d/s s 666 0|mknod d/f f 644 0|mknod d/c c 600 103|mknod d/b b 600 103", false},
	{"d d 775", "open d/f wcx 600|mkdir d/s 777|mknod d/p p 622 0|symlink x d/l|tmpfile d 666|tmplink d d/f 640|mknod d/w c 0 0|mknod d/d d 755 0", false},
	{"d d 777", "open d/f wc 666|open d/f wc 7777|mkdir d/s 7777|mknod d/p p 7666 0|umask 0; open d/f rwc 666; umask 022|umask 077; mkdir d/s 777; umask 022|" +
		"tmpfile d 7777|tmplink d d/f 666|open d/f wc 0; write d/f w|open d/f wc 444; write d/f w|mknod d/w c 0 0; stat d/w|symlink x d/l; readlink d/l", false},
	{"d d 333", "open d/f wc 644|ls d|open d r|unlink d/none|chdir d|stat d/none", false},
	{"d d 444; f d/f 666", "ls d|stat d/f|open d/f r|open d/g wc|chdir d|unlink d/f", false},
	{"d d 555; f d/f 666", "open d/f w|open d/g wc|unlink d/f|rename d/f d/g|link d/f d/g|write d/f wt|mkdir d/f 755|open d/f wcx|mkdir d/g 755|rmdir d/g", false},
	{"d d 0; f d/f 666", "ls d|stat d/f|chmod d 700|rmdir d|rename d e", false},
	{"d d 711; f d/f 644", "ls d|read d/f r|unlink d/f|open d/none r|unlink d/none|open d/none wc", false},
	{"d d 710; f d/f 644", "read d/f r|chdir d|stat d/f|open d/f wc", false},
	{"d d 700; f d/f 666; d d/s 777", "read d/f r|rmdir d/s|mkdir d/s 755|mkdir d/t 755|rename d/f f|link d/f f|readlink d/f", false},
	// Set-group-id directories, and bits that belong to a group.
	{"d d 2777", "open d/f wc 2755; stat d/f|open d/f wc 2745|mkdir d/s 755; stat d/s|mkdir d/s 2755|mknod d/f f 2755 0|mknod d/p p 2711 0|tmplink d d/f 2755|tmpfile d 2755|symlink x d/l", false},
	{"d d 2777 0:2009", "open d/f wc 2755|open d/f wc 6644|mkdir d/s 777; open d/s/f wc 2711|mknod d/f f 2755 0|tmplink d d/f 2711|mknod d/w c 2711 0|rename d e", false},
	{"d d 2775", "open d/f wc 6755|mkdir d/s 700|rmdir d|chmod d 2777|chmod d 777|chown d -1:2009|chown d -1:-1|chown d 65534:2001", false},
	{"d d 3777 0:0; f d/f 666", "unlink d/f|rename d/f d/g|open d/g wc 644; unlink d/g|mkdir d/s 755; rmdir d/s|write d/f w|open d/f wc|write d/f wct", false},
	// Sticky directories.
	{"d d 1777 0:0; f d/f 644; d d/s 755; l d/l f", "unlink d/f|rmdir d/s|unlink d/l|rename d/f d/g|rename d/s d/t|rename d/f d/l|link d/f d/g|rename d/f f|open d/f wc|open d/f rc|readlink d/l|open d/l r|open d/l w", false},
	{"d d 1777; f d/f 644 0:0; f d/g 666 1004:2004; p d/p 666", "unlink d/f|unlink d/g|rename d/f d/g|rename d/g d/f|rename2 d/f d/g exchange|write d/g w|open d/g wc|open d/p wrc|chmod d/g 600|setx d user.x", false},
	{"d d 1770; f d/f 666 1002:2001", "unlink d/f|write d/f w|rename d/f d/g", false},
	{"f f 1644", "chmod f 1644|chmod f 1755|write f w|stat f", false},
	// Modes.
	{"f f 644", "chmod f 600|chmod f 4755|chmod f 2755|chmod f 2745|chmod f 6777|chmod f 1777|chmod f/ 600|chmod none 600|lchmod f 600|fchmod f r 600|fchmod f r 2755", false},
	{"f f 644 65534:2009", "chmod f 2755|chmod f 6711|chmod f 2644|chown f -1:2001|chown f -1:2009|chown f 65534:2009", false},
	{"d d 755 65534:2009", "chmod d 2755|chmod d 3777|chmod d 1777|chown d -1:2001|utimes d 1 2|utimes d now now", false},
	{"l l f; f f 644", "chmod l 600|lchmod l 600|chown l -1:2001|lchown l 65534:2001|lchown l -1:2009|lchown l 1004:-1|utimes l 1 2|utimes l now now|readlink l|stat l|truncate l 1|open l rn|unlink l|rename l m", true},
	// Owners, and what a change of owner takes away.
	{"f f 6777", "chown f -1:2001|chown f 65534:-1|chown f 65534:2001|chown f 1002:2001|chown f -1:2009|chown f 0:0|chown f -1:-1", false},
	{"f f 2745", "chown f -1:2001|chown f 65534:-1|chown f 1002:-1|chown f -1:2009", false},
	{"f f 2745 65534:2009", "chown f -1:2001|chown f -1:2009|chown f 65534:-1|chown f 1002:2001|chmod f 2755|chmod f 2645", false},
	{"f f 644", "chown f -1:-1|chown f 65534:2001|chown f -1:2009|chown f -1:2003|chown f 1004:-1|lchown f -1:2001|chown f/x 0:0|chown none 0:0", false},
	{"d d 6777", "chown d -1:2001|chown d 1002:2009|chown d -1:-1|chown d -1:2009", false},
	{"p p 6777", "chown p -1:2001|chown p 65534:-1|chmod p 6755", false},
	// What writing takes away.
	{"f f 6777", "write f w|write f wt|open f wt|open f w|write f wa|truncate f 3|truncate f 10|truncate f 100|ftruncate f w 3|fallocate f|punch f|mapped f|open f r|utimes f now now|fchmod f r 6755", false},
	{"f f 4777", "write f w|write f wt|truncate f 3|fallocate f|punch f|ftruncate f w 10", true},
	{"f f 2777", "write f w|write f wt|truncate f 3|fallocate f|punch f", false},
	{"f f 2767", "write f w|write f wt|open f wt|truncate f 3|fallocate f|punch f|mapped f|ftruncate f w 3", false},
	{"f f 2767 65534:2009", "write f w|open f wt|truncate f 3|fallocate f|write f wa", false},
	{"f f 6767 65534:2004", "write f w|open f wt|truncate f 3|punch f|chown f -1:2004", false},
	{"f f 6776; f g 666", "copy g f|copy f g|write f w", false},
	{"f f 2766; f g 666", "copy g f", false},
	{"f f 777; cap f", "write f w|write f wt|open f wt|truncate f 3|fallocate f|punch f|mapped f|chown f -1:2001|chown f -1:-1|chmod f 755|getx f security.capability", false},
	{"f f 6777; cap f; f g 666", "write f w|copy g f|link f h; write h w|truncate f 3", false},
	// What belongs to ids that are mapped in a user namespace, or of which only one is.
	{"f f 2767 100005:100006", "write f w|open f wt|truncate f 3|punch f|chmod f 2755|chown f -1:100007|chown f -1:-1|setacl f u::rwx,g::rx,o::rx|setflags f nodump|setx f trusted.a|setx f user.a|getflags f", false},
	{"f f 6777 100005:100006", "write f w|chown f 100007:-1|chown f -1:-1|chmod f 6755|truncate f 3|fallocate f|setflags f immutable|chown f 0:0", false},
	{"f f 2767 100005:2009", "write f w|chown f -1:100006|chmod f 2755|chmod f 600|truncate f 3|setflags f nodump|unlink f", false},
	{"d d 2777 100005:100006", "open d/f wc 2755|mkdir d/s 755|mknod d/w c 0 0|mknod d/c c 600 103|chmod d 2755|setx d trusted.a|tmpfile d 2711", false},
	// Names and links.
	{"f f 644; d d 755", "link f g|link d e|link f d|link none g|symlink f g|symlink f d|symlink f f|rename f d|rename d f|rename f f|rename none g|rename d d/e|rename d e|rename f d/g|mkdir d 755|mkdir none/d 755|rename d d/|rename f g/", true},
	{"f f 600 0:0", "link f g|rename f g|rename2 f g whiteout|unlink f|open f wc", false},
	{"f f 4755", "link f g|link f g; write f w|stat f", false},
	{"f f 644; h g f", "unlink g|rename f g|write f w; read g r|chmod g 600|stat f", true},
	{"f f 644; f g 600; d d 755; d e 755; f e/f 644", "rename f g|rename2 f g noreplace|rename2 f g exchange|rename2 f d exchange|rename2 f none exchange|rename2 f h noreplace|rename d e|rename e d|rename2 d e exchange|rename2 f h whiteout|rename2 f g whiteout|rename2 f h unknown|rmdir e|rename e/f d", true},
	{"d d 777; d e 755; f d/f 666; d e/d 755", "rename d/f e/f|rename e/d d/d|rename2 d/f e/d exchange|rename d/f f|link d/f e/f|rename2 d/f d/g whiteout", false},
	{"d d 777; d d/s 755 65534:2001; d e 777", "rename d/s e/s|rename d/s d/t", false},
	{"d d 777; d d/s 555 1004:2004; d e 777; d d/t 700 0:0", "rename d/s e/s|rename d/s d/u|rename d/t e/t|rename d/t d/u|rmdir d/s|rename d/s d/t", false},
	{"", "open NAME255 wc; unlink NAME255|open NAME256 wc|mkdir NAME256 755|stat NAME256|rename none NAME256|symlink x NAME256|unlink NAME256|symlink TARGET4095 l; readlink l|stat DEEP|link none NAME256|mknod NAME256 f 644 0|rmdir NAME256", true},
	{"l a b; l b a; l dang nowhere; l self self/x", "open a r|stat a|chmod a 600|open a wc|open dang r|open dang wc|open dang wcx|stat self|mkdir a 755|mkdir dang 755|rename a c|unlink a|truncate a 0|chown a 1:1|open a/ r|mkdir dang/ 755|rmdir a", true},
	{"d d 755; l l d; f d/f 644", "ls l|rmdir l|rmdir l/|stat l/f|unlink l/f|open l/ r|rename l m|rename l/ m|mkdir l/s 755|open l rn|open l rnd|link l k|open l/f wt|lchown l/ -1:-1", true},
	// Times.
	{"f f 644", "utimes f now now|utimes f 1 2|utimes f now omit|utimes f omit now|utimes f omit omit|utimes f now 1|utimes none now now|utimes f -1 -1", true},
	{"f f 622", "utimes f now now|utimes f omit now|utimes f 1 omit", false},
	{"d d 733", "utimes d now now|utimes d 3 4", false},
	// Extended attributes.
	{"f f 644; x f user.a; x f trusted.a; x f security.a", "lsx f|getx f user.a|getx f trusted.a|getx f security.a|getx f user.b|getx f nothing.a|setx f user.a|setx f user.b|setx f user.a create|setx f user.b replace|setx f trusted.a|setx f trusted.b|setx f security.b|setx f system.x|rmx f user.a|rmx f user.b|rmx f trusted.a|rmx f security.a", true},
	{"f f 600; x f user.a", "lsx f|getx f user.a|setx f user.a|rmx f user.a", true},
	{"f f 622; x f user.a", "getx f user.a|setx f user.b", false},
	{"d d 755; x d user.a; x d trusted.b", "lsx d|getx d user.a|setx d user.b|rmx d user.a|getx d trusted.b", false},
	{"d d 1777; x d user.a", "setx d user.a|rmx d user.a|getx d user.a", false},
	{"l l f; x l trusted.a; x l security.a", "lsx l|getx l trusted.a|getx l security.a|getx l user.a|setx l user.a|setx l trusted.a|setx l trusted.b|setx l security.b|rmx l trusted.a|rmx l user.a|rename l m; lsx m|lsx l; getx l trusted.b", false},
	{"d d 755; l d/l f; x d/l trusted.a", "lsx d/l|rename d e; lsx e/l|rename d/l m; setx m trusted.b; lsx m", true},
	{"p p 644; x p trusted.a", "lsx p|setx p user.a|getx p user.a|getx p trusted.a|setx p trusted.b|rmx p trusted.a|setx p security.b", false},
	// Access control lists.
	{"f f 640; acl f u::rw,u:1004:rw,g::r,m::rw,o::", "read f r|write f w|access f 2|lsx f|getx f system.posix_acl_access|chmod f 600|chmod f 640; write f w|rmacl f|setacl f u::rw,g::r,o::|setacl f u::rw,u:1005:r,g::,m::r,o::; read f r|stat f", false},
	{"f f 660; acl f u::rw,g::,g:2009:rw,m::r,o::rw", "read f r|write f w|access f 6|truncate f 1", false},
	{"f f 666; acl f u::rw,u:1004:,g::r,m::rw,o::rw", "read f r|write f w|unlink f", false},
	{"f f 2755", "setacl f u::rwx,g::rx,o::rx|setacl f u::rwx,u:1004:rwx,g::rx,m::rwx,o::|setacl f u::rw,g::r,o::|rmacl f", false},
	{"f f 2755 65534:2009", "setacl f u::rwx,g::rx,o::rx|setacl f u::rwx,u:1004:rwx,g::rx,m::rwx,o::|setacl f u::rw,g::r,o::r|setacl f u::rw,g:5:r,g::r,m::r,o::r|rmacl f|setacl f u::rw", false},
	{"f f 6754 65534:2009", "setacl f u::rwx,u:1004:r,g::rx,m::r,o::|chmod f 2754", false},
	{"d d 2755 65534:2009", "setacl d u::rwx,g::rx,o::rx|setacl d u::rwx,u:1004:rwx,g::rx,m::rwx,o::|setdacl d u::rwx,g::rx,o::rx", false},
	{"d d 777; dacl d u::rwx,u:1004:rwx,g::rx,m::rwx,o::", "open d/f wc 666; stat d/f|mkdir d/s 777; open d/s/f wc 644|mknod d/p p 666 0|tmplink d d/f 666|umask 077; open d/f wc 666; umask 022|symlink x d/l|rmdacl d; open d/f wc 666|lsx d|mkdir d/s 700", false},
	{"d d 2777 65534:2009; dacl d u::rwx,g::rwx,o::rwx", "open d/f wc 2777|mkdir d/s 755|umask 027; open d/f wc 666; umask 022|umask 077; mkdir d/s 777; umask 022", false},
	{"d d 770; acl d u::rwx,u:1004:rx,g::,m::rwx,o::; f d/f 644", "ls d|read d/f r|open d/g wc|unlink d/f|chdir d|setdacl d u::rwx,g::,o::; open d/g wc 666|rmacl d", false},
	{"f f 644", "setacl f u::rw,u:1004:rw,g::r,m::rw,o::r|setacl f u::rw,u:1004:rw,g::r,o::r|setdacl f u::rw,g::r,o::r|rmacl f|rmdacl f|getx f system.posix_acl_access", true},
	{"l l f; f f 644", "getx l system.posix_acl_access|setx l system.posix_acl_access|rmx l system.posix_acl_access", true},
	// Flags of the file system.
	{"f f 666; flag f immutable", "write f w|open f r|truncate f 1|chmod f 600|chown f -1:2001|utimes f now now|utimes f 1 1|unlink f|rename f g|link f g|setx f user.a|getflags f|setflags f none|setacl f u::rw,g::r,o::|access f 2|fallocate f|rename2 f g exchange|getfsx f|open f wt", true},
	{"f f 666; flag f append", "write f w|write f wa|open f wt|truncate f 1|chmod f 600|utimes f now now|utimes f 1 1|unlink f|rename f g|link f g|setx f user.a|getflags f|setflags f none|read f r|open f wat|access f 2", true},
	{"d d 777; f d/f 666; flag d immutable", "open d/g wc|mkdir d/s 755|unlink d/f|rename d/f d/g|link d/f d/g|write d/f w|chmod d 755|rmdir d|getflags d|ls d|rename d e|symlink x d/l|tmpfile d 644|utimes d now now", true},
	{"d d 777; f d/f 666; flag d append", "open d/g wc|mkdir d/s 755|unlink d/f|rename d/f d/g|link d/f d/g|write d/f w|rmdir d|chmod d 755|getflags d|rename f d/f|tmpfile d 644", true},
	{"f f 644; d d 755", "getflags f|getflags d|setflags f nodump; getflags f|setflags f noatime|setflags f immutable; write f w; setflags f none|setflags d append|setflags d nodump|getfsx f|getfsx d|setflags f append; unlink f", true},
	{"f f 600", "getflags f|setflags f nodump|getfsx f", true},
	{"f f 600; flag f nodump", "write f w|chmod f 644|getflags f|link f g|rename f g; getflags g|truncate f 0", true},
}

// knownDifferences are what FUSE does otherwise, whatever its server answers. Callers are all if none is named.
var knownDifferences = []struct {
	setUp, call, callers string
	onlyOwn              bool // on an ordinary user's mount only
	why                  string
}{
	{"flag f immutable", "access f 2", "", false, "fuse_permission: where the kernel checks permissions it does not ask, and it knows no such flag"},
	{"flag f immutable", "link f g", "", false, "may_linkat: it takes the source for one that can be written, so the directory's error comes first"},
	{"6777", "chown f -1:-1", "powerless member supplementary stranger", false, "fuse_setattr: a request to change nothing, as before a write"},
	{"767 100005", "chown f -1:-1", "powerless owner member supplementary stranger", false, "fuse_setattr, as above"},
	{"777 100005", "chown f -1:-1", "owner", false, "fuse_setattr, as above"},
	{"cap f", "mapped f", "", false, "fuse_writepages: what was written by mapping comes as a write, and a write takes the capabilities"},
	{"6777; cap f", "write f w", "root keeper", false, "fuse_setattr: the same request to change nothing, once the capabilities are gone"},
	{"6777; cap f", "copy g f", "root keeper", false, "fuse_setattr, as above"},
	{"6777; cap f", "link f h; write h w", "root keeper", false, "fuse_setattr, as above"},
	{"6777", "mapped f", "owner", true, "fuse_writepages: what was written by mapping comes as a write, and a user's write takes the bits"},
}

func (c *comparison) known(a act) bool {
	for _, k := range knownDifferences {
		mine := k.callers == "" || slices.Contains(strings.Fields(k.callers), a.caller)
		if mine && a.call == k.call && strings.Contains(a.setUp, k.setUp) && (c.m.user != nil || !k.onlyOwn) {
			return true
		}
	}
	return false
}

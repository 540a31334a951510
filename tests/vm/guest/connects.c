/*
 * Many connects to Unix sockets, counted or timed.
 *
 *   connects count FILE PATH=NAME...   for ever: what became of the
 * connects to each PATH, kept in FILE, which another process may read at any time connects time FD
 * PATH TIMES        the median of one connect() to PATH in nanoseconds; FD is its listener
 *
 * A path alone does not say who listens there, since names are exchanged; NAME, which the listener
 * was bound to, does.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define MOST_PATHS 8
#define MOST_TIMES 100000
#define CALM_US	   50000
#define LEFT_ALONE 100 /* rounds */

/* tests/vm/guest/systemd.py reads this. */
struct tally {
	uint64_t refused;  /* EPERM */
	uint64_t reached;  /* connected, and the listener is bound to NAME */
	uint64_t other;	   /* connected to another listener */
	uint64_t failed;   /* any other error */
	uint64_t first_ns; /* CLOCK_MONOTONIC of the first and the last that reached it */
	uint64_t last_ns;
	uint64_t rounds;
	uint64_t last_errno;
};

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000ull + time.tv_nsec;
}

static int address_of(struct sockaddr_un *address, const char *path)
{
	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	if (strlen(path) >= sizeof(address->sun_path))
		return -1;
	strcpy(address->sun_path, path);
	return 0;
}

struct shared {
	uint64_t pause_us; /* between rounds; the reader may change it */
	uint64_t held; /* the first connection that was made is kept: 1 open, 2 ended by the other
			  side */
	struct tally tally[MOST_PATHS];
};

struct target {
	struct sockaddr_un address;
	const char *name;
	ino_t known; /* of a listener that is somebody else */
};

static void keep(struct shared *shared, int fd)
{
	static int kept = -1;
	char byte;

	if (fd >= 0 && kept < 0) {
		kept = dup(fd);
		shared->held = 1;
	}
	if (kept >= 0 && recv(kept, &byte, 1, MSG_DONTWAIT) == 0)
		shared->held = 2;
}

/* Return the connection if it reached what it must not, else -1. */
static int try_one(struct tally *tally, struct target *target)
{
	struct sockaddr_un peer = {};
	socklen_t size = sizeof(peer) - 1;
	struct stat found = {};
	int fd;

	stat(target->address.sun_path, &found);
	if (tally->rounds++ % LEFT_ALONE && found.st_ino && found.st_ino == target->known)
		return -1;
	target->known = 0;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (connect(fd, (struct sockaddr *)&target->address, sizeof(target->address))) {
		tally->last_errno = errno;
		if (errno == EPERM)
			tally->refused++;
		else
			tally->failed++;
	} else if (getpeername(fd, (struct sockaddr *)&peer, &size) ||
		   strcmp(peer.sun_path, target->name)) {
		tally->other++;
		target->known = found.st_ino;
	} else {
		tally->last_ns = now();
		if (!tally->reached++)
			tally->first_ns = tally->last_ns;
		return fd;
	}
	close(fd);
	return -1;
}

static int count(const char *file, char **words, int paths)
{
	struct target target[MOST_PATHS] = {};
	int fd = open(file, O_RDWR | O_CREAT, 0644), i;

	if (fd < 0 || paths > MOST_PATHS || ftruncate(fd, sizeof(struct shared)))
		return 1;
	struct shared *shared = mmap(0, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (shared == MAP_FAILED)
		return 1;
	for (i = 0; i < paths; i++) {
		char *name = strchr(words[i], '=');

		if (!name)
			return 1;
		*name = 0;
		target[i].name = name + 1;
		if (address_of(&target[i].address, words[i]))
			return 1;
	}
	for (;;) {
		for (i = 0; i < paths; i++) {
			int reached = try_one(&shared->tally[i], &target[i]);

			keep(shared, i ? -1 : reached);
			if (reached >= 0)
				close(reached);
		}
		usleep(shared->pause_us ? shared->pause_us : CALM_US);
	}
}

static int by_size(const void *one, const void *other)
{
	uint64_t a = *(const uint64_t *)one, b = *(const uint64_t *)other;

	return a < b ? -1 : a > b;
}

static int time_them(int listener, const char *path, long warm, long times)
{
	static uint64_t took[MOST_TIMES];
	struct sockaddr_un address;
	long i;

	if (warm < 0 || times < 1 || times > MOST_TIMES || address_of(&address, path))
		return 1;
	for (i = -warm; i < times; i++) {
		int fd = socket(AF_UNIX, SOCK_STREAM, 0);
		uint64_t began = now();
		int result = connect(fd, (struct sockaddr *)&address, sizeof(address));

		if (i >= 0)
			took[i] = now() - began;
		if (!result)
			close(accept(listener, 0, 0));
		close(fd);
	}
	qsort(took, times, sizeof(*took), by_size);
	printf("%llu\n", (unsigned long long)took[times / 2]);
	return 0;
}

int main(int words, char **word)
{
	if (words > 3 && !strcmp(word[1], "count"))
		return count(word[2], word + 3, words - 3);
	if (words == 6 && !strcmp(word[1], "time"))
		return time_them(atoi(word[2]), word[3], atol(word[4]), atol(word[5]));
	return 2;
}

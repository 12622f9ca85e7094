// A private server of a peer: started here, on a unix socket, and stopped here.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace bench {

class Server {
 public:
    // Throws when it can't be started or nothing listens at `socket` within ten seconds.
    Server(const std::vector<std::string>& command, const std::string& socket);
    ~Server();
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;

    [[nodiscard]] pid_t pid() const { return pid_; }

 private:
    pid_t pid_ = -1;
};

// A connection to a unix socket, or -1.
int connect_to(const std::string& socket) noexcept;

}  // namespace bench

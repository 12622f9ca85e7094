// LMDB: a memory-mapped B+ tree, its file in /dev/shm, without any syncing. A reader keeps its transaction
// and renews it for each read, as LMDB's documentation advises; a write is a transaction.
#include <lmdb.h>

#include <cstring>
#include <vector>

#include "bench/l1/peers/peers.hpp"
#include "bench/l1/temporary_folder.hpp"

namespace bench {

namespace {

constexpr unsigned flags = MDB_NOSYNC | MDB_NOMETASYNC | MDB_WRITEMAP | MDB_NOMEMINIT;

void ok(int code) { require(code == MDB_SUCCESS, code == MDB_SUCCESS ? "" : mdb_strerror(code)); }

template <class Byte>
MDB_val value_of(std::span<const Byte> bytes) {
    return {bytes.size(), const_cast<void*>(static_cast<const void*>(bytes.data()))};
}

class Peer {
 public:
    Peer(std::size_t value_bytes, const std::string& folder, std::size_t map_bytes) : value_(value_bytes) {
        ok(mdb_env_create(&environment_));
        ok(mdb_env_set_mapsize(environment_, map_bytes));
        ok(mdb_env_open(environment_, folder.c_str(), flags, 0600));
        MDB_txn* transaction = begin(0);
        ok(mdb_dbi_open(transaction, nullptr, 0, &items_));
        ok(mdb_txn_commit(transaction));
        reader_ = begin(MDB_RDONLY);
        mdb_txn_reset(reader_);
    }
    ~Peer() {
        mdb_txn_abort(reader_);
        mdb_env_close(environment_);
    }
    Peer(const Peer&) = delete;
    Peer& operator=(const Peer&) = delete;

    std::span<const std::byte> get(std::string_view text) {
        MDB_val key = value_of(std::span<const char>(text));
        MDB_val value;
        ok(mdb_txn_renew(reader_));
        const int code = mdb_get(reader_, items_, &key, &value);
        const bool found = code == MDB_SUCCESS && value.mv_size <= value_.size();
        if (found) std::memcpy(value_.data(), value.mv_data, value.mv_size);
        mdb_txn_reset(reader_);
        return found ? std::span<const std::byte>(value_).first(value.mv_size) : std::span<const std::byte>();
    }

    void put(std::string_view text, std::span<const std::byte> value) {
        MDB_txn* transaction = begin(0);
        put_in(transaction, text, value);
        ok(mdb_txn_commit(transaction));
    }

    void load(const Workload& workload) {
        constexpr std::uint32_t at_once = 10'000;
        for (std::uint32_t first = 0; first < workload.key_count(); first += at_once) {
            MDB_txn* transaction = begin(0);
            const std::uint32_t end = std::min(workload.key_count(), first + at_once);
            for (std::uint32_t i = first; i < end; ++i) {
                put_in(transaction, workload.key(i).text(), workload.value(i));
            }
            ok(mdb_txn_commit(transaction));
        }
    }

 private:
    MDB_txn* begin(unsigned begin_flags) {
        MDB_txn* transaction = nullptr;
        ok(mdb_txn_begin(environment_, nullptr, begin_flags, &transaction));
        return transaction;
    }
    void put_in(MDB_txn* transaction, std::string_view text, std::span<const std::byte> value) {
        MDB_val key = value_of(std::span<const char>(text));
        MDB_val data = value_of(value);
        ok(mdb_put(transaction, items_, &key, &data, 0));
    }

    std::vector<std::byte> value_;
    MDB_env* environment_ = nullptr;
    MDB_dbi items_ = 0;
    MDB_txn* reader_ = nullptr;
};

class Lmdb : public Store {
 public:
    explicit Lmdb(const Workload& workload) : Store("LMDB", workload), folder_("/dev/shm") {}

    void start() override {}
    std::unique_ptr<Access> open() override {
        const std::size_t map_bytes = workload().data_bytes() * 4 + (std::size_t{64} << 20);
        return std::make_unique<AccessOf<Peer>>(workload().value_bytes(), folder_.path(), map_bytes);
    }
    void remove_names() noexcept override { folder_.remove(); }

 private:
    TemporaryFolder folder_;
};

}  // namespace

StorePointer make_lmdb(const Workload& workload) { return std::make_unique<Lmdb>(workload); }

}  // namespace bench

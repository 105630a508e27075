// A fixed pool; the thread that accepts waits for a free worker. The workers
// wait for a database.
import java.io.*;
import java.net.*;
import java.util.concurrent.*;

public class Pool {
    static final Semaphore free = new Semaphore(8);

    static void query(Socket client) {
        try (client; Socket db = new Socket("127.0.0.1", Integer.parseInt(System.getenv("BACKEND")))) {
            db.getOutputStream().write("select 1\n".getBytes());
            client.getOutputStream().write(db.getInputStream().read());
        } catch (IOException e) {
            System.err.println(e);
        } finally {
            free.release();
        }
    }

    public static void main(String[] args) throws Exception {
        ExecutorService workers = Executors.newFixedThreadPool(8);
        ServerSocket server = new ServerSocket(Integer.parseInt(args[0]), 50, InetAddress.getLoopbackAddress());
        System.out.println("ready");
        while (true) {
            free.acquire();
            Socket client = server.accept();
            workers.execute(() -> query(client));
        }
    }
}
